"""A block's time against the number of its tokens, on a device: measured here and kept, or modelled."""

import json
import statistics
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.isa import instruction_set
from spokeshave.devices.device import Device
from spokeshave.devices.host import HostDevice
from spokeshave.devices.layer_costs import kernel_digest, write_entry
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder
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
    key = _key(block, width, counts, isa)
    digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / "staircases" / f"{digest}.json"
    known = _read(path, key)
    if known is None:
        known = _time(block, width, counts, isa)
        write_entry(path, {"key": key, "seconds": {str(count): time for count, time in known.items()}})
    return known


def _key(block: nn.Module, width: int, counts: Sequence[int], isa: str | None) -> dict[str, Any]:
    """Everything that the times hang on: shapes, not weights."""
    return {
        "block": repr(block),
        "weights": [[name, list(weight.shape)] for name, weight in block.named_parameters()],
        "width": width,
        "counts": list(counts),
        "cpu": cpu_name(),
        "isa": instruction_set(isa).name,
        "compiler": find_compiler().version,
        "kernels": kernel_digest(),
        "torch": torch.__version__,
    }


def _read(path: Path, key: dict[str, Any]) -> dict[int, float] | None:
    try:
        entry = json.loads(path.read_text())
        times = {int(count): float(time) for count, time in entry["seconds"].items()}
        return times if entry["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


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
