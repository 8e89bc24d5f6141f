"""Sparse matrices as people have them: each layer of a chain as a compressed-sparse-row product with ready columns.

The columns of a convolution (im2col) are laid out before the clock starts, which flatters these peers.
"""

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn

from bench.contest import Contender
from spokeshave.measure.quiet import quietly
from spokeshave.workload import Workload

Product = tuple[Tensor, Tensor]
"""A pruned matrix and the columns that it meets."""


def products(network: nn.Module, workload: Workload) -> list[Product]:
    """Every layer's weight as a matrix, with random columns of the layer's own number of positions."""
    named = dict(network.named_parameters())
    return [
        (
            named[layer.parameter].detach().reshape(layer.rows, -1),
            torch.randn(layer.columns, layer.positions),
        )
        for layer in workload.layers
        if layer.parameter
    ]


def contenders(pairs: list[Product], compression: float) -> list[Contender]:
    """The products by `torch.sparse` (MKL where PyTorch has it) and by scipy, checked against the dense product."""
    runs = {"torch.sparse CSR": ("torch", _torch_runs(pairs)), "scipy CSR": ("scipy", _scipy_runs(pairs))}
    kept = sum(int(matrix.count_nonzero()) for matrix, _ in pairs) / sum(m.numel() for m, _ in pairs)
    return [
        Contender(name, False, "fp32", compression, version(package), _all(calls), _error(calls, pairs), kept)
        for name, (package, calls) in runs.items()
    ]


def _torch_runs(pairs: list[Product]) -> list[Callable[[], Tensor]]:
    def product(matrix: Tensor, columns: Tensor) -> Callable[[], Tensor]:
        with quietly():  # PyTorch warns that its sparse tensors are new
            rows = matrix.to_sparse_csr()
        return lambda: rows @ columns

    return [product(*pair) for pair in pairs]


def _scipy_runs(pairs: list[Product]) -> list[Callable[[], Tensor]]:
    from scipy.sparse import csr_matrix

    def product(matrix: Tensor, columns: Tensor) -> Callable[[], Tensor]:
        rows, dense = csr_matrix(matrix.numpy()), columns.numpy()
        return lambda: torch.from_numpy(rows @ dense)

    return [product(*pair) for pair in pairs]


def _all(calls: list[Callable[[], Tensor]]) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            for call in calls:
                call()

    return run


def _error(calls: list[Callable[[], Tensor]], pairs: list[Product]) -> float:
    differences = []
    for call, (matrix, columns) in zip(calls, pairs, strict=True):
        wanted = matrix @ columns
        differences.append(float((call() - wanted).abs().max() / wanted.abs().max()))
    return float(np.max(differences))
