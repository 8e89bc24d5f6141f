"""Matrices packed for the vector kernels: the instance that suits them, and its constants."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Constant
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import Epilogue, IntegerVectorKernel, VectorKernel
from spokeshave.compiler.kernels.packing import Panels, best_vectors, is_far, streamed_bytes
from spokeshave.compiler.kernels.segment_panels import SegmentPanels, best_segments
from spokeshave.compiler.kernels.words import best_word_vectors
from spokeshave.compiler.layout import words
from spokeshave.compiler.quantization.arithmetic import Requantization

MOST_VECTORS = 8


@dataclass(frozen=True)
class VectorProduct:
    """A kernel instance and the arguments that come first in its calls.

    These are columns, their starts and weights, then the bias, or of integers `start`, `scale` and `shift`.
    """

    kernel: VectorKernel | IntegerVectorKernel
    constants: tuple[Constant, ...]


def pack_vectors(
    lowering: Lowering, matrix: np.ndarray, bias: np.ndarray, epilogue: Epilogue, matrices: int = 1
) -> VectorProduct:
    """Pack a matrix `[M, K]` and its bias `[M]` for products with one or a few vectors.

    So many `matrices` one below the other are packed one behind the other, each in panels of its own.

    Rows that keep different columns are packed in segments where that streams fewer bytes. A matrix whose every weight
    is a bfloat16 is stored as such: that loses nothing and halves what streams by.
    """
    isa, half = lowering.isa, not (matrix.view(np.uint32) & 0xFFFF).any()
    panels = best_vectors(matrix, isa, matrices)
    streamed = streamed_bytes(panels, isa)
    segments = best_segments(matrix, isa, half, streamed, matrices, panels.scattered)
    found = segments or panels
    piece = min(found.rows // (2 if half else 1), isa.lanes)
    weights = _half_words(found.weights, piece) if half else found.weights
    kernel = _instance(found, piece, weights, isa, matrix.shape[1], epilogue)
    arrays = {
        "columns": (found.columns % matrix.shape[1]).astype(np.int32 if kernel.wide else np.uint16),
        "column_start": found.column_start,
        "weights": weights,
        "bias": bias[found.row_numbers],
        "numbers": found.row_numbers % np.int32(len(matrix) // matrices),
    }
    arrays |= {"places": segments.place_words()} if segments else {}
    return VectorProduct(kernel, tuple(lowering.constant(arrays[name]) for _, name in kernel.constants))


def _half_words(weights: np.ndarray, piece: int) -> np.ndarray:
    """Weights `[columns, rows]` as bfloat16 in words of two: one of a piece and one of the next."""
    halves = (weights.view(np.uint32) >> 16).astype(np.uint16)
    rows = weights.shape[1]
    return halves.reshape(-1, rows // (2 * piece), 2, piece).swapaxes(2, 3).reshape(weights.shape)


def _instance(
    found: Panels | SegmentPanels,
    piece: int,
    weights: np.ndarray,
    isa: InstructionSet,
    width: int,
    epilogue: Epilogue,
) -> VectorKernel:
    segments = found if isinstance(found, SegmentPanels) else None
    return VectorKernel(
        found.rows,
        piece,
        vectors=_vectors(found.rows // piece, isa),
        epilogue=epilogue,
        prefetch=segments is not None or is_far(weights, isa),
        wide=width > 1 << 16,
        half=weights.dtype == np.uint16,
        segment=segments.segment if segments else 0,
        scattered=found.scattered,
    )


def pack_integer_vectors(
    lowering: Lowering, weight: np.ndarray, after: Requantization, matrices: int = 1, **options: Any
) -> VectorProduct:
    """Pack an int8 matrix `[M, K]` and what follows its sums; `options` are further fields of the kernel instance.

    `matrices` as of `pack_vectors`.
    """
    isa, wide = lowering.isa, weight.shape[1] > 1 << 16
    packed = best_word_vectors(weight, isa, matrices)
    segments = best_segments(weight, isa, False, packed.streamed_bytes(), matrices)
    found = segments or packed.panels
    in_words = not (segments or packed.gathered)
    kernel = IntegerVectorKernel(
        found.rows,
        isa.lanes,
        vectors=_vectors(found.rows // isa.lanes, isa),
        gathered=segments is None and packed.gathered,
        prefetch=segments is not None or is_far(found.weights, isa),
        wide=wide,
        segment=segments.segment if segments else 0,
        scattered=found.scattered,
        **options,
    )
    width = words(weight.shape[1], "uint8") if in_words else weight.shape[1]
    arrays = {
        "columns": (found.columns % width).astype(np.int32 if wide else np.uint16),
        "column_start": found.column_start,
        "weights": found.weights,
        "numbers": found.row_numbers % np.int32(len(weight) // matrices),
    }
    arrays |= {"places": segments.place_words()} if segments else {}
    arrays |= {name: getattr(after, name).numpy()[found.row_numbers] for name in ("start", "scale", "shift")}
    return VectorProduct(kernel, tuple(lowering.constant(arrays[name]) for _, name in kernel.constants))


def _vectors(pieces: int, isa: InstructionSet) -> int:
    """How many vectors share a weight: half of the registers hold sums."""
    return min(MOST_VECTORS, max(1, isa.registers // 2 // pieces))
