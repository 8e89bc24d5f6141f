"""A block's time against the number of its tokens, on a device: measured here and kept, or modelled."""

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.isa import instruction_set
from spokeshave.devices.device import Device
from spokeshave.devices.host import HostDevice
from spokeshave.devices.measured_cache import kept, of_the_code
from spokeshave.errors import SpokeshaveError
from spokeshave.processor import cpu_name, limited_threads
from spokeshave.tokens.staircase import Staircase
from spokeshave.workload import trace

ROUNDS = 31
COPIES = ("input", "output")  # of a block alone; inside a network there are none


def block_staircase(block: nn.Module, width: int, counts: Sequence[int], device: Device) -> Staircase:
    """What one block (tokens `[1, T, width]` to as many) costs on a device at each of the `counts` of tokens.

    On this CPU the block is compiled once, with the count as an argument of its calls, and timed at every count, round
    by round; the table is kept in the user's cache folder (`staircases`). Other devices' models are asked.
    """
    ordered = sorted(set(counts))
    if not ordered or ordered[0] < 1:
        raise SpokeshaveError(f"a block's time is taken at 1 token or more, not at {list(counts)}")
    if isinstance(device, HostDevice):
        return Staircase.of(_measured(block, width, ordered, device.isa), "measured")
    costs = {count: device.cost(trace(block, torch.zeros(1, count, width))) for count in ordered}
    for count, cost in costs.items():
        if cost.latency_seconds is None:
            raise SpokeshaveError(f"{device.name} has no latency for a block of {count} tokens")
    return Staircase.of({count: cost.latency_seconds or 0.0 for count, cost in costs.items()}, "modelled")


def _measured(block: nn.Module, width: int, counts: Sequence[int], isa: str | None) -> dict[int, float]:
    return kept(
        "staircases",
        _key(block, width, counts, isa),
        lambda entry: {int(count): float(time) for count, time in entry["seconds"].items()},
        lambda: {"seconds": {str(count): time for count, time in _time(block, width, counts, isa).items()}},
    )


def _key(block: nn.Module, width: int, counts: Sequence[int], isa: str | None) -> dict[str, Any]:
    """Everything that the times hang on: shapes, not weights."""
    return {
        "block": repr(block),
        "weights": [[name, list(weight.shape)] for name, weight in block.named_parameters()],
        "width": width,
        "counts": list(counts),
        "cpu": cpu_name(),
        "isa": instruction_set(isa).name,
        **of_the_code(),
    }


def _time(block: nn.Module, width: int, counts: Sequence[int], isa: str | None) -> dict[int, float]:
    """Medians over rounds, in each of which every count has its turn: what disturbs one disturbs all."""
    lengths: dict[str | int, int] = {0: 1}
    with limited_threads(1):
        deployment = compile_network(
            block.eval(), torch.randn(1, counts[-1], width), isa=isa, dynamic=lengths
        )
        inputs = {count: torch.randn(1, count, width) for count in counts}
        times: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(ROUNDS):
            for count in counts:
                rows = deployment.profile(inputs[count], repeats=1)
                times[count].append(sum(row.seconds for row in rows if row.operation not in COPIES))
    return {count: statistics.median(seconds) for count, seconds in times.items()}
