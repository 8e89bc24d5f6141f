"""Batch-norm statistics after weights have been changed by hand."""

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def refresh_batch_norm(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], passes: int = 20
) -> None:
    """Measure the running means and variances of every batch norm afresh on the first `passes` batches.

    A projection shifts what flows through a network; its old statistics then cost accuracy needlessly.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta, training = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    network.train()
    for inputs, _ in islice(batches, passes if norms else 0):
        network(inputs)
    network.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
