"""Matrices packed for the vector kernels: the instance that suits them, and its constants."""

from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Constant
from spokeshave.compiler.isa import InstructionSet, level_two_cache_bytes
from spokeshave.compiler.kernels.instances import Epilogue, VectorKernel
from spokeshave.compiler.kernels.packing import Panels, best_vectors

MOST_VECTORS = 8


@dataclass(frozen=True)
class VectorProduct:
    """A kernel instance and the arguments that come first in its calls: columns, their starts, weights, bias."""

    kernel: VectorKernel
    constants: tuple[Constant, ...]


def pack_vectors(
    lowering: Lowering, matrix: np.ndarray, bias: np.ndarray, epilogue: Epilogue
) -> VectorProduct:
    """Pack a matrix `[M, K]` and its bias `[M]` for products with one or a few vectors."""
    panels = best_vectors(matrix, lowering.isa)
    kernel = _instance(panels, lowering.isa, matrix.shape[1], epilogue)
    columns = panels.columns.astype(np.int32 if kernel.wide else np.uint16)
    arrays = (columns, panels.column_start, panels.weights, bias[panels.row_numbers])
    return VectorProduct(kernel, tuple(lowering.constant(array) for array in arrays))


def _instance(panels: Panels, isa: InstructionSet, width: int, epilogue: Epilogue) -> VectorKernel:
    """Half of the registers hold sums; weights beyond the level-2 cache are prefetched."""
    piece = min(panels.rows, isa.lanes)
    vectors = min(MOST_VECTORS, isa.registers // 2 // (panels.rows // piece))
    beyond = panels.weights.nbytes > 1.5 * level_two_cache_bytes(isa)
    return VectorKernel(panels.rows, piece, vectors, epilogue, beyond, width > 1 << 16)
