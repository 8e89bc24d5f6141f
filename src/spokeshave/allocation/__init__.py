"""How much each layer may keep: shares of its weights, of its work, or bits."""

from spokeshave.allocation.bits import BitAllocation, EqualStep, allocate_bits
from spokeshave.allocation.equal_slope import Curve, EqualSlope, SlopeAllocation, allocate_equal_slope
from spokeshave.allocation.sparsity import GlobalThreshold, SparsityAllocation, allocate_sparsity
from spokeshave.allocation.weights import relative_error
from spokeshave.allocation.work import block_power

__all__ = [
    "BitAllocation",
    "Curve",
    "EqualSlope",
    "EqualStep",
    "GlobalThreshold",
    "SlopeAllocation",
    "SparsityAllocation",
    "allocate_bits",
    "allocate_equal_slope",
    "allocate_sparsity",
    "block_power",
    "relative_error",
]
