"""What an engine takes of an FPGA: DSP blocks, LUTs, flip-flops and block RAMs, by what each part of it takes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from math import inf

from spokeshave.devices.figure import Figure
from spokeshave.devices.fpga.engine import CODE_BITS, LARGEST_SHIFT, PARAMETER_DEPTH, Engine, LaneKind
from spokeshave.devices.fpga.verilog.sums import tree_levels

COSTS = "costs.toml"
BLOCK_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096))  # bits and words of half a block RAM (RAMB18E2)


@dataclass(frozen=True)
class Resources:
    """Parts of an FPGA; `bram` are blocks of 36 kbit."""

    dsp: float = 0
    lut: float = 0
    ff: float = 0
    bram: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(*(mine + others for mine, others in zip(self.values(), other.values(), strict=True)))

    def __mul__(self, count: float) -> "Resources":
        return Resources(*(count * mine for mine in self.values()))

    def values(self) -> tuple[float, ...]:
        """The four numbers."""
        return self.dsp, self.lut, self.ff, self.bram

    def shares(self, present: "Resources") -> dict[str, float]:
        """What share of `present` this is, by the name of the resource; infinite of what there is none of."""
        names = [field.name for field in fields(self)]
        return {
            name: own / all_of if all_of else inf * own if own else 0.0
            for name, own, all_of in zip(names, self.values(), present.values(), strict=True)
        }


def resources_of(engine: Engine) -> Resources:
    """What an engine takes.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> resources_of(Engine(Lanes(int8=32), columns=32, requantizer="shift")).dsp
    512.0
    """
    parts = Resources()
    for part, count in counted_parts(engine).items():
        parts += part_costs()[part] * count
    return parts + Resources(bram=memory_blocks(engine))


def counted_parts(engine: Engine) -> dict[str, int]:
    """How many of each part of `costs.toml` an engine has."""
    x_bits = engine.activation_bits + (not engine.signed)
    lanes = [lane_parts(kind, engine.lanes.of(kind), engine.columns, x_bits) for kind in CODE_BITS]
    widest = max(engine.weight_word_bits, engine.input_word_bits, engine.parameter_word_bits)
    return {part: count for parts in lanes for part, count in parts.items() if part != "adder_bit"} | {
        "adder_bit": sum(parts["adder_bit"] for parts in lanes),
        "lane": engine.rows,
        f"{engine.requantizer}_output": engine.outputs,
        "word_bit": widest,
        "control": 1,
    }


def lane_parts(kind: LaneKind, lanes: int, columns: int, x_bits: int = 8) -> dict[str, int]:
    """The parts of the dot products of some lanes: products, and the bits of all sums in the trees behind them.

    >>> lane_parts("int8", lanes=2, columns=4)
    {'int8_product': 8, 'adder_bit': 104}
    """
    product_bits = {"shift": x_bits + LARGEST_SHIFT, "binary": 3}.get(kind, CODE_BITS[kind] + x_bits)
    terms = -(-columns // 6) if kind == "binary" else columns
    bits = sum(count * (product_bits + level) for level, count in enumerate(tree_levels(terms), 1))
    return {f"{kind}_product": lanes * columns, "adder_bit": lanes * bits}


def memory_blocks(engine: Engine) -> float:
    """Block RAMs of all memories; sums are two memories, for one half is read and written while the other is read."""
    memories = (
        (engine.weight_word_bits, 2 * engine.depth),
        (engine.input_word_bits, 2 * engine.input_words),
        (engine.parameter_word_bits, 4 * PARAMETER_DEPTH),
        *[(engine.rows * engine.accumulator_bits, engine.most_positions)] * 2,
    )
    return sum(halves_of_blocks(bits, words) for bits, words in memories) / 2


def halves_of_blocks(bits: int, words: int) -> int:
    """Half block RAMs for words of so many bits, in the best of their shapes.

    >>> halves_of_blocks(72, 512), halves_of_blocks(72, 1024), halves_of_blocks(8, 4096)
    (2, 4, 2)
    """
    return min(-(-bits // width) * -(-words // depth) for width, depth in BLOCK_SHAPES)


@cache
def part_figures() -> Mapping[str, Mapping[str, Figure]]:
    """What each part takes, by part and resource, with sources."""
    document = tomllib.loads((files("spokeshave.devices.fpga") / COSTS).read_text(encoding="utf-8"))
    return {
        part: {
            name: Figure(float(value), "1", table["status"], table["source"])
            for name, value in table.items()
            if name not in ("status", "source")
        }
        for part, table in document.items()
    }


@cache
def part_costs() -> Mapping[str, Resources]:
    """The same as numbers."""
    return {
        part: Resources(**{name: figure.value for name, figure in figures.items()})
        for part, figures in part_figures().items()
    }
