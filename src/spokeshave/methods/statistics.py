"""Batch-norm statistics after weights have been changed by hand."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spokeshave.data.batch_forms import parted, run_on


@torch.no_grad()
def refresh_batch_norm(network: nn.Module, batches: Iterable[Any], passes: int = 20) -> None:
    """Measure the running means and variances of every batch norm afresh on the first `passes` batches.

    A projection shifts what flows through a network; its old statistics then cost accuracy needlessly.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta, training = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    network.train()
    for batch in islice(batches, passes if norms else 0):
        run_on(network, parted(batch)[0])
    network.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
