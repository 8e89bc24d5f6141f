"""How much each layer may keep: shares of its weights, of its work, or bits."""

from spokeshave.allocation.bits import BitAllocation, EqualStep, allocate_bits
from spokeshave.allocation.sparsity import GlobalThreshold, SparsityAllocation, allocate_sparsity
from spokeshave.allocation.weights import relative_error

__all__ = [
    "BitAllocation",
    "EqualStep",
    "GlobalThreshold",
    "SparsityAllocation",
    "allocate_bits",
    "allocate_sparsity",
    "relative_error",
]
