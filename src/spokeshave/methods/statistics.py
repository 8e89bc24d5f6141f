"""Batch-norm statistics after weights have been changed by hand."""

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spokeshave.data.batch_forms import parted, run_on
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_count
from spokeshave.weights import check_network


@torch.no_grad()
def refresh_batch_norm(network: nn.Module, batches: Iterable[Any], passes: int = 20) -> None:
    """Measure the running means and variances of every batch norm afresh on the first `passes` batches.

    A projection shifts what flows through a network; its old statistics then cost accuracy needlessly. Raises
    SpokeshaveError where there is not one batch to measure on.
    """
    check_network("refresh_batch_norm", network)
    check_count("refresh_batch_norm", "passes", passes)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    chosen = islice(batches, passes)
    first = next(chosen, None)
    if first is None:
        raise SpokeshaveError("batch norms are measured on data, and there is not one batch of it")
    momenta, training = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    network.train()
    for batch in chain([first], chosen):
        run_on(network, parted(batch)[0])
    network.train(training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
