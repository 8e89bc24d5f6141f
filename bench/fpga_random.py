"""Random products for lanes of every kind of the generated engine: each sum is a vector of a lane."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from spokeshave.compiler.quantization.rescaling import rescaled
from spokeshave.devices.fpga.engine import LARGEST_SHIFT, Engine, LaneKind
from spokeshave.devices.fpga.verilog.product import Numbers

LANES: Mapping[LaneKind, str] = {"int8": "int8", "int4": "int4", "shift": "mixed", "binary": "binary"}
ROWS, COLUMNS, POSITIONS = 128, 150, 128
NOTHING = torch.zeros((), dtype=torch.int64)


def random_products(engines: Mapping[str, Engine]) -> Iterator[tuple[LaneKind, str, Numbers, Tensor]]:
    """Lanes, the engine that has them, a product of random numbers, and the levels that must come of it."""
    torch.manual_seed(0)
    for kind, name in LANES.items():
        numbers = random_numbers(engines[name], kind)
        sums = numbers.weights @ numbers.inputs + numbers.bias[:, None]
        made = rescaled(sums, numbers.multiplier[:, None], numbers.shift[:, None], "once", NOTHING)
        yield kind, name, numbers, made.clamp(numbers.low, numbers.high)


def random_numbers(engine: Engine, kind: LaneKind) -> Numbers:
    """Weights of a kind, inputs that the engine reads, and a rescaling that leaves most levels within their bounds."""
    low, high = (-1, 1) if kind == "binary" else (-128, 127) if engine.signed else (0, 255)
    inputs = torch.randint(low, high + 1, (COLUMNS, POSITIONS))
    inputs = 2 * (inputs > 0).long() - 1 if kind == "binary" else inputs
    weights = random_weights(kind)
    largest = int((weights @ inputs).abs().max())
    bits = max(0, largest.bit_length() - 8)
    by_shift = engine.requantizer == "shift"
    multiplier = (
        torch.ones(ROWS, dtype=torch.int64) if by_shift else torch.randint(1 << 30, (1 << 31) - 1, (ROWS,))
    )
    return Numbers(
        weights,
        (kind,) * ROWS,
        inputs,
        torch.randint(-largest, largest + 1, (ROWS,)),
        multiplier,
        torch.full((ROWS,), bits if by_shift else 31 + bits),
    )


def random_weights(kind: LaneKind) -> Tensor:
    """`[ROWS, COLUMNS]`, every level of the kind as likely as the others, or nearly."""
    if kind == "binary":
        return 2 * torch.randint(0, 2, (ROWS, COLUMNS)) - 1
    if kind == "shift":
        return torch.randint(-1, 2, (ROWS, COLUMNS)) << torch.randint(0, LARGEST_SHIFT + 1, (ROWS, COLUMNS))
    most = 127 if kind == "int8" else 7
    return torch.randint(-most, most + 1, (ROWS, COLUMNS))
