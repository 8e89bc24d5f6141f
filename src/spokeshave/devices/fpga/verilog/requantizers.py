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
    wide = max(sum_bits, 32) + 1 + (31 if kind == "multiplier" else 0)
    numbers = {"SUM": sum_bits, "WIDE": wide, "ALL": max(75, wide + 2)}
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
    folder = resources.files(__package__).joinpath("templates")
    pieces = {name: folder.joinpath(f"{name}.v").read_text().rstrip() for name in ("shifting", "rounding")}
    return written(
        f"{kind}_requantizer_{sum_bits}", f"{kind}_requantizer", ports, numbers, LATENCY, pieces=pieces
    )
