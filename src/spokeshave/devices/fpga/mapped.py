"""A whole network on an engine: cycles of every layer, what moves, and where each layer lies under the roof."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.mapping import Work


@dataclass(frozen=True)
class MappedLayer:
    """One layer: `moved_bytes` both ways, `busy` the share of cycles in which products are made."""

    name: str
    cycles: int
    multiply_adds: int
    moved_bytes: int
    busy: float

    @property
    def intensity(self) -> float:
        """Multiply-adds for each byte that moves."""
        return self.multiply_adds / self.moved_bytes


@dataclass(frozen=True)
class Mapped:
    """All layers, one behind the other."""

    engine: Engine
    layers: tuple[MappedLayer, ...]

    @property
    def cycles(self) -> int:
        """Of one sample."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of one sample."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def moved_bytes(self) -> int:
        """Of one sample."""
        return sum(layer.moved_bytes for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Products that count, as a share of those that the lanes could have made."""
        return self.multiply_adds / (self.cycles * self.engine.products)


def repeated(network: Sequence[Work]) -> tuple[tuple[Work, int], ...]:
    """One of each kind of work in a network, and how often it is done."""
    like = {(work.product, work.count, work.steps): work for work in network}
    counts = Counter((work.product, work.count, work.steps) for work in network)
    return tuple((work, counts[key]) for key, work in like.items())


def network_cycles(engine: Engine, kinds: Sequence[tuple[Work, int]]) -> int:
    """Cycles of a whole network, from one of each kind of its works."""
    return sum(count * work.cycles(engine).total for work, count in kinds)


def map_network(engine: Engine, network: Sequence[Work]) -> Mapped:
    """Cycles and bytes of every layer; raises SpokeshaveError for formats without lanes."""
    return Mapped(engine, tuple(_mapped(engine, work) for work in network))


def _mapped(engine: Engine, work: Work) -> MappedLayer:
    found = work.cycles(engine)
    outputs = work.count * work.product.row_count * work.product.positions
    return MappedLayer(
        name=work.layer.name,
        cycles=found.total,
        multiply_adds=work.count * work.product.multiply_adds,
        moved_bytes=found.load * engine.load_bytes + outputs,
        busy=min(1.0, found.compute / found.total),
    )
