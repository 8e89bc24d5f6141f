"""Sizes of the engine for a network, searched for under what the chip has (*modelled*)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice, product

from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Engine, LaneKind, Lanes
from spokeshave.devices.fpga.mapped import Mapped, map_network, network_cycles, repeated
from spokeshave.devices.fpga.mapping import Work
from spokeshave.devices.fpga.resources import part_costs
from spokeshave.devices.fpga.schedule import HOLDS
from spokeshave.errors import SpokeshaveError

COLUMNS = (16, 32, 64, 128)
COLUMNS_OF_SIGNS = (64, 128, 144, 256, 288, 576)  # whole kernels of 3 x 3 among them
OUTPUTS = (4, 8, 16, 32, 48)
PARTS = tuple(range(1, 9))  # of the longest product's columns, one of which the memory of weights holds
TILES = 96  # at most so many tiles of rows of one layer
TRIED = 32  # sets of lanes, those with the most products first, whose cycles are counted
REFINED = 3  # of these, the best, whose memories are searched


@dataclass(frozen=True)
class Design:
    """A device with an engine made for a network, and the network on it."""

    device: FPGADevice
    mapped: Mapped

    @property
    def samples_per_second(self) -> float:
        """One sample after another."""
        return self.device.clock / self.mapped.cycles

    @property
    def samples_per_joule(self) -> float:
        """The same for each watt."""
        moved = self.mapped.moved_bytes * self.device.figures["byte_energy"].value
        return 1 / (self.device.watts / self.samples_per_second + moved)


def find_engine(device: FPGADevice, network: Sequence[Work], known: Iterable[Engine] = ()) -> Design:
    """The engine on which the network takes the fewest cycles, of those that are searched.

    Lanes of each format by how many rows have it, so that all formats end a tile together: as many as a layer's rows
    divided by a number of tiles; those with the most products a cycle are counted, and the memories of the best
    searched. int8 lanes hold int4 weights and powers of two as well, so that each way to leave out lanes of these is
    searched too. The device's own engine and `known` ones, found for other formats of this network, are tried beside
    them.
    Raises SpokeshaveError where not even the smallest engine fits the chip.
    """
    kinds = repeated(network)
    own = [] if device.misfit() else [device.engine]
    found = [engine for engine in (*own, *known) if _computes(engine, network)]
    for left_out in _ways_to_leave_out(network):
        found += _search(device, [_on_bytes(work, left_out) for work in network])
    if not found:
        raise SpokeshaveError(f"no engine for this network fits {device.name}: {_why_none(device)}")
    best = device.with_engine(*_best(found, kinds, 1))
    return Design(best, map_network(best.engine, network))


def _why_none(device: FPGADevice) -> str:
    there = device.budget
    rescaling = OUTPUTS[0] * part_costs()[f"{device.engine.requantizer}_output"].dsp
    if there.dsp < rescaling:
        return (
            f"the multipliers that rescale its sums take {rescaling:.0f} DSP blocks at least, of {there.dsp:.0f}; "
            f"allow {rescaling:.0f}, and LUTs multiply rows that are powers of two"
        )
    budget = f"{there.dsp:,.0f} DSP, {there.lut:,.0f} LUT, {there.ff:,.0f} FF and {there.bram:,.0f} BRAM"
    return f"its smallest lanes are too large for {budget}; allow more"


def _search(device: FPGADevice, network: Sequence[Work]) -> list[Engine]:
    """The best engine with lanes of each of the network's formats; none where no such engine fits."""
    shapes = sorted(_lane_shapes(device, network), key=lambda engine: -engine.products)
    kinds = repeated(network)
    chosen = _best(shapes[:TRIED], kinds, REFINED)
    refined = [larger for engine in chosen for larger in _memories(device, engine, network)]
    return _best([*chosen, *refined], kinds, 1)


def _ways_to_leave_out(network: Sequence[Work]) -> Iterator[frozenset[LaneKind]]:
    """Every set of the formats in a network whose rows int8 lanes can compute instead, the empty one first."""
    there = {kind for work in network for kind, count in work.product.rows if count}
    others = [kind for kind in HOLDS["int8"] if kind != "int8" and kind in there]
    for size in range(len(others) + 1):
        yield from map(frozenset, combinations(others, size))


def _on_bytes(work: Work, left_out: frozenset[LaneKind]) -> Work:
    """The same with the rows of some formats counted as int8, whose lanes compute them."""
    counts: Counter[LaneKind] = Counter()
    for kind, count in work.product.rows:
        counts["int8" if kind in left_out else kind] += count
    return replace(work, product=replace(work.product, rows=tuple(counts.items())))


def _computes(engine: Engine, network: Sequence[Work]) -> bool:
    """Whether it has lanes for every format in a network."""
    held = {kind for lane, kinds in HOLDS.items() if engine.lanes.of(lane) for kind in kinds}
    return all(kind in held for work in network for kind, count in work.product.rows if count)


def _best(engines: Iterable[Engine], kinds: Sequence[tuple[Work, int]], count: int) -> list[Engine]:
    return sorted(engines, key=lambda engine: network_cycles(engine, kinds))[:count]


def _lane_shapes(device: FPGADevice, network: Sequence[Work]) -> Iterator[Engine]:
    """Engines of every number of columns and lanes that fit, with the largest memories for their longest product."""
    for columns in COLUMNS_OF_SIGNS if device.engine.lanes.binary else COLUMNS:
        for lanes in _lane_counts(network):
            if lanes.int8 * columns // 2 <= device.budget.dsp:
                small = replace(
                    device.engine, lanes=lanes, columns=columns, depth=64, positions=16, outputs=OUTPUTS[0]
                )
                engine = _fitting(device, small)
                if engine is not None:
                    yield next(_memories(device, engine, network, PARTS[:1], OUTPUTS[2:3]), engine)


def _lane_counts(network: Sequence[Work]) -> set[Lanes]:
    """Lanes for which each layer's rows are whole tiles, or nearly.

    Products of two activations take int8 lanes, which then compute rows of int4 as well: an eighth, a quarter, half or
    all of those.
    """
    both_activations = any(work.layer.parameter is None for work in network)
    found = set()
    for rows in {work.product.rows for work in network if work.layer.parameter is not None}:
        for tiles in range(1, TILES + 1):
            whole = {kind: -(-count // tiles) for kind, count in rows}
            lanes = Lanes(
                _even(whole.get("int8", 0)),
                _even(whole.get("int4", 0)),
                whole.get("shift", 0),
                whole.get("binary", 0),
            )
            found |= _with_bytes(lanes) if both_activations and not lanes.int8 else {lanes}
    return found


def _with_bytes(lanes: Lanes) -> set[Lanes]:
    """The same with int8 lanes, in the place of int4 ones where there are some."""
    counts = {_even(-(-max(lanes.int4, lanes.shift) // part)) for part in (8, 4, 2, 1)}
    return {replace(lanes, int8=count, int4=max(0, lanes.int4 - count)) for count in counts}


def _even(count: int) -> int:
    return count + count % 2


def _memories(
    device: FPGADevice,
    engine: Engine,
    network: Sequence[Work],
    parts: Sequence[int] = PARTS,
    outputs: Sequence[int] = OUTPUTS,
) -> Iterator[Engine]:
    """The same lanes with memories: for each part of the longest product the most positions that fit, and the next."""
    words = max(-(-work.product.columns // engine.columns) for work in network)
    positions = max(work.product.positions for work in network)
    depths = {-(-words // part) for part in parts}
    spans = sorted({-(-positions // part) for part in (1, 2, 3, 4, 6, 8, 12, 16)}, reverse=True)
    for depth, count in product(sorted(depths), outputs):
        sizes = (replace(engine, depth=depth, positions=span, outputs=count) for span in spans)
        yield from islice((found for size in sizes if (found := _fitting(device, size)) is not None), 2)


def _fitting(device: FPGADevice, engine: Engine) -> Engine | None:
    """The engine with all bytes that memory gives it in a cycle, or None where it is too large."""
    room = int(device.bandwidth / device.clock) - engine.outputs
    if room < 1:
        return None
    wide = replace(engine, load_bytes=room)
    return wide if replace(device, engine=wide).misfit() is None else None
