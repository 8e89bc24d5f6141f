"""Requantizers: from sums to levels, by a shift alone or by a multiplier and a shift."""

from importlib import resources

from spokeshave.devices.fpga.engine import Requantizer
from spokeshave.devices.fpga.verilog.module import Module, Port, clock, written

BOUND_BITS = 10  # of levels less their zero point
LATENCY = 3


def requantizer(kind: Requantizer, sum_bits: int) -> Module:
    """`clamp((sum + bias) * multiplier + half >> shift, low, high) + zero_point` as `level`, 8 bits.

    `compiler/quantization/rescaling.py` defines the arithmetic. `bias` has 32 bits, `multiplier` (which "shift" lacks)
    31, `shift` 6; `low` and `high` are counted from the zero point.
    """
    biased = max(sum_bits, 32) + 1
    numbers = {"SUM": sum_bits}
    if kind == "multiplier":
        numbers |= {"PRODUCT": biased + 31, "WIDE": biased + 31}
    else:
        numbers |= {"BIASED": biased, "WIDE": biased}
    ports = (
        clock(),
        Port("sum", sum_bits),
        Port("bias", 32),
        *((Port("multiplier", 31),) if kind == "multiplier" else ()),
        Port("shift", 6),
        Port("low", BOUND_BITS),
        Port("high", BOUND_BITS),
        Port("zero_point", 8),
        Port("level", 8, "output", register=True),
    )
    rounding = resources.files(__package__).joinpath("templates", "rounding.v").read_text().rstrip()
    pieces = {"rounding": rounding}
    return written(
        f"{kind}_requantizer_{sum_bits}", f"{kind}_requantizer", ports, numbers, LATENCY, pieces=pieces
    )
