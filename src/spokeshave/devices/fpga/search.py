"""Sizes of the engine for a network, searched for under what the chip has (*modelled*)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.mapped import Mapped, map_network, network_cycles, repeated
from spokeshave.devices.fpga.mapping import Work
from spokeshave.errors import SpokeshaveError

COLUMNS = (16, 32, 64, 128)
OUTPUTS = (8, 16, 32, 48, 64)
TILES = 96  # at most so many tiles of rows of one layer
TRIED = 24  # sets of lanes, the most products first, whose cycles are counted
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


def find_engine(device: FPGADevice, network: Sequence[Work]) -> Design:
    """The engine on which the network takes the fewest cycles.

    Lanes of each format by how many rows have it, so that all formats end a tile together: as many as a layer's rows
    divided by a number of tiles; those with the most products are counted, and the memories of the best searched.
    Raises SpokeshaveError where not even the smallest engine fits the chip.
    """
    shapes = sorted(_lane_shapes(device, network), key=lambda engine: -engine.products)
    if not shapes:
        raise SpokeshaveError(
            f"no engine for this network fits {device.name}: its smallest lanes are too large"
        )
    kinds = repeated(network)
    chosen = _best(shapes[:TRIED], kinds, REFINED)
    refined = [larger for engine in chosen for larger in _memories(device, engine, network)]
    best = device.with_engine(*_best([*chosen, *refined], kinds, 1))
    return Design(best, map_network(best.engine, network))


def _best(engines: Iterable[Engine], kinds: Sequence[tuple[Work, int]], count: int) -> list[Engine]:
    return sorted(engines, key=lambda engine: network_cycles(engine, kinds))[:count]


def _lane_shapes(device: FPGADevice, network: Sequence[Work]) -> Iterator[Engine]:
    """Engines of every number of columns and lanes that fit, each with the smallest memories."""
    for columns in COLUMNS:
        for lanes in _lane_counts(network):
            if lanes.int8 * columns // 2 <= device.budget.dsp:
                small = replace(device.engine, lanes=lanes, columns=columns, depth=64, positions=16)
                engine = _fitting(device, small)
                if engine is not None:
                    yield engine


def _lane_counts(network: Sequence[Work]) -> set[Lanes]:
    """Lanes for which each layer's rows are whole tiles, or nearly."""
    found = set()
    products = any(work.layer.parameter is None for work in network)
    for rows in {work.product.rows for work in network if work.layer.parameter is not None}:
        by_kind = dict(rows)
        for tiles in range(1, TILES + 1):
            whole = {kind: -(-count // tiles) for kind, count in by_kind.items()}
            even = {
                kind: count + count % 2 if kind in ("int8", "int4") else count
                for kind, count in whole.items()
            }
            if products:  # of two activations, which are bytes
                even["int8"] = max(even.get("int8", 0), 2)
            found.add(Lanes(**even))
    return found


def _memories(device: FPGADevice, engine: Engine, network: Sequence[Work]) -> Iterator[Engine]:
    """The same lanes with every size of memories that fits."""
    words = max(-(-work.product.columns // engine.columns) for work in network)
    positions = max(work.product.positions for work in network)
    depths = {-(-words // parts) for parts in range(1, 9)} | {engine.depth}
    spans = {-(-positions // parts) for parts in (1, 2, 3, 4, 6, 8, 12)} | {engine.positions}
    for depth in sorted(depths):
        for span in sorted(spans):
            for outputs in OUTPUTS:
                found = _fitting(device, replace(engine, depth=depth, positions=span, outputs=outputs))
                if found is not None:
                    yield found


def _fitting(device: FPGADevice, engine: Engine) -> Engine | None:
    """The engine with all bytes that memory gives it in a cycle, or None where it is too large."""
    room = int(device.bandwidth / device.clock) - engine.outputs
    if room < 1:
        return None
    wide = replace(engine, load_bytes=room)
    return wide if replace(device, engine=wide).misfit() is None else None


def smallest_share(
    device: FPGADevice, networks: Callable[[float], Sequence[Work]], shares: Sequence[float], target: float
) -> tuple[float, Design]:
    """The first of the shares, ascending, with which the network reaches the target; the fastest where none does."""
    fastest: tuple[float, Design] | None = None
    for share in shares:
        design = find_engine(device, networks(share))
        if design.samples_per_second >= target:
            return share, design
        if fastest is None or design.samples_per_second > fastest[1].samples_per_second:
            fastest = share, design
    assert fastest is not None
    return fastest
