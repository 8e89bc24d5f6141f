"""Matrices packed for the vector kernels: the instance that suits them, and its constants."""

from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Constant
from spokeshave.compiler.isa import InstructionSet, level_two_cache_bytes
from spokeshave.compiler.kernels.instances import Epilogue, VectorKernel
from spokeshave.compiler.kernels.packing import best_vectors

MOST_VECTORS = 8


@dataclass(frozen=True)
class VectorProduct:
    """A kernel instance and the arguments that come first in its calls: columns, their starts, weights, bias."""

    kernel: VectorKernel
    constants: tuple[Constant, ...]


def pack_vectors(
    lowering: Lowering, matrix: np.ndarray, bias: np.ndarray, epilogue: Epilogue
) -> VectorProduct:
    """Pack a matrix `[M, K]` and its bias `[M]` for products with one or a few vectors.

    A matrix whose every weight is a bfloat16 is stored as such: that loses nothing and halves what streams by.
    """
    panels = best_vectors(matrix, lowering.isa)
    bits = np.ascontiguousarray(panels.weights).view(np.uint32)
    half = not (bits & 0xFFFF).any()
    weights = (bits >> 16).astype(np.uint16) if half else panels.weights
    kernel = _instance(panels.rows, weights, lowering.isa, matrix.shape[1], epilogue)
    columns = panels.columns.astype(np.int32 if kernel.wide else np.uint16)
    arrays = (columns, panels.column_start, weights, bias[panels.row_numbers])
    return VectorProduct(kernel, tuple(lowering.constant(array) for array in arrays))


def _instance(
    rows: int, weights: np.ndarray, isa: InstructionSet, width: int, epilogue: Epilogue
) -> VectorKernel:
    """Half of the registers hold sums; weights beyond the level-2 cache are prefetched."""
    piece = min(rows, isa.lanes)
    return VectorKernel(
        rows,
        piece,
        vectors=min(MOST_VECTORS, isa.registers // 2 // (rows // piece)),
        epilogue=epilogue,
        prefetch=weights.nbytes > 1.5 * level_two_cache_bytes(isa),
        wide=width > 1 << 16,
        half=weights.dtype == np.uint16,
    )
