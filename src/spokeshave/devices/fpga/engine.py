"""The tiled engine for matrix products: what the cycle model counts and what the generated Verilog is.

    sums[rows, positions] = weights[rows, columns] @ inputs[columns, positions]

**Lanes.** The engine computes `rows` rows at once, one lane a row, with `columns` products a lane and cycle, for one
position:

    int8, int4  w * x by DSP blocks, two lanes a block: ((w1 << 18) + w0) * x, so both lanes share x
    shift       +-x << e, in LUTs, for weights 0 and +-2^e, e = 0 .. 6
    binary      w, x = +-1, one bit each: 2 * popcount(w xnor x) - columns; all lanes are binary then

Every lane sums its products in a tree, a register behind each level, and adds to an accumulator.

**Weight codes** in memory: int8 and int4 two's complement (without -128 and -8); shift 4 bits, the sign above e, e = 7
for the weight 0; binary 1 for +1. Of two int8 or int4 lanes that share a block, the second's code has 1 taken off
where the first's is negative, which is what the first's sign adds to it in the factor. A weight word holds `columns`
codes of every lane: lane 0's first, lowest bits first; lanes in the order int8, int4, shift, binary. An input word
holds `columns` activations of one position, lowest bits first. Columns that a matrix lacks are zeros in both; of binary
words they are bits 1 and 0, each of which takes 1 off the sum: the bias gives it back. It also gives back 1 for each
negative weight of a shift lane's row: such a lane turns every bit of x << e round, which is -(x << e) - 1, so that it
needs no adder for signs.

**Memories.** Three of two halves each: weights (`depth` words a half), inputs (`positions * depth` words a half, words
of a position side by side) and sums (`most_positions` words a half, each of `rows` sums: as many as a block RAM has).
Halves of weights and inputs lie word by word beside each other, so that no memory is deeper than both together. Rows'
parameters (bias, multiplier, shift: 72 bits, 40 without multiplier; lowest bits first) lie beside the weights,
`outputs` rows to a word, in four parts of `PARAMETER_DEPTH` words that are loaded by turns: those of sums that are
still being stored must stand while two more are loaded.

**Jobs.** A product is cut into jobs (`schedule.py`), in which everything fits: a tile of rows, one pass over at most
`depth * columns` columns, a tile of positions, which are more than `positions` where passes have fewer words than
`depth`; passes and tiles of positions are as equal as they can be. A job loads
only what differs from the job before. Weights, inputs and sums change halves with each load of weights, each load of
inputs, and each job that begins new sums (`first`). Weights that stay for many products (steps of a recurrent layer)
are loaded once, all tiles of rows into one half, by a job of their own (`loading_job`), which computes one position of
what the input memory happens to hold; a job then reads them from `weight_base` on, and parameters from `parameter_base`
on, which are 0 otherwise.

    load     `load_bytes` a cycle, each word in whole beats: parameters of rows (where `first` and weights are loaded),
             weight words, input words, in this order
    compute  for each position, for each word: read weights[word] and inputs[position, word], one pair a cycle; behind
             the last word of a position its sums are written, with those that stood there added unless `first`
    store    of the last pass over the columns: for each position `output_words` words, up to the last lane that has a
             row, `outputs` sums a cycle through as many requantizers:
             clamp(((sum + bias) * multiplier + half) >> shift, low, high), or without multiplier;
             half = 1 << shift - 1, or 0 without shift

Load, compute and store go on side by side, each in the order of jobs:

    load of job i     begins when that of i-1 and computing of i-2 have ended
    computing of i    begins when its load and computing of i-1 have ended and, where `first`, when the sums two before
                      these are stored
    store             begins when its last pass has been computed and the store before it has ended

A phase takes its beats, `positions * words` or `positions * output_words` cycles, and `HANDOVER` cycles to begin;
computing also `compute_latency` and storing `STORE_LATENCY`, in which what is in the pipeline comes out. `cycles.py`
counts exactly this.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from spokeshave.errors import SpokeshaveError

LaneKind = Literal["int8", "int4", "shift", "binary"]
Requantizer = Literal["shift", "multiplier"]

CODE_BITS: dict[LaneKind, int] = {"int8": 8, "int4": 4, "shift": 4, "binary": 1}
LARGEST_SHIFT = 6
PACKING_OFFSET = 18  # of the upper weight in a DSP block: a product of 8 and 9 bits has 17
HANDOVER = 1
SUM_DEPTH = 512  # of a block RAM as wide as it can be
PARAMETER_DEPTH = 128  # four parts of it are as deep as a block RAM
STORE_LATENCY = 4  # reading, bias, product, shift and clamp
PARAMETER_BITS: dict[Requantizer, int] = {"shift": 40, "multiplier": 72}


@dataclass(frozen=True)
class Lanes:
    """Rows in parallel of each kind."""

    int8: int = 0
    int4: int = 0
    shift: int = 0
    binary: int = 0

    @cached_property
    def rows(self) -> int:
        """All of them."""
        return self.int8 + self.int4 + self.shift + self.binary

    @cached_property
    def code_bits(self) -> int:
        """Bits of one column of weights."""
        return sum(bits * self.of(kind) for kind, bits in CODE_BITS.items())

    def of(self, kind: LaneKind) -> int:
        """Lanes of a kind."""
        return int(getattr(self, kind))


@dataclass(frozen=True)
class Engine:
    """Sizes of the engine, in lanes, words and bytes; raises SpokeshaveError for impossible ones.

    `signed` says whether activations of 8 bits are int8 or uint8.

    >>> Engine(Lanes(int8=32, shift=32), columns=16).rows
    64
    """

    lanes: Lanes
    columns: int
    depth: int = 256
    positions: int = 64
    load_bytes: int = 64
    outputs: int = 16
    signed: bool = True
    accumulator_bits: int = 32
    requantizer: Requantizer = "multiplier"

    def __post_init__(self) -> None:
        for kind in CODE_BITS:
            _check_whole(f"lanes.{kind}", self.lanes.of(kind), 0)
        for field in ("columns", "depth", "positions", "load_bytes", "outputs"):
            _check_whole(field, getattr(self, field), 1)
        if self.lanes.rows == 0:
            raise SpokeshaveError("an engine needs lanes: int8, int4, shift or binary ones")
        if self.lanes.binary not in (0, self.lanes.rows):
            raise SpokeshaveError("binary lanes read bits, the others bytes: an engine has one or the other")
        for kind in ("int8", "int4"):
            if getattr(self.lanes, kind) % 2:
                odd = getattr(self.lanes, kind)
                raise SpokeshaveError(f"{kind} lanes come in pairs, for two share a DSP block, not {odd}")
        if self.requantizer not in PARAMETER_BITS:
            raise SpokeshaveError(f"requantizer must be shift or multiplier, not {self.requantizer!r}")
        if not 8 <= self.accumulator_bits <= 48:
            raise SpokeshaveError(f"accumulator_bits must be from 8 to 48, not {self.accumulator_bits}")

    @property
    def activation_bits(self) -> int:
        """Bits of what lanes read: bytes, of binary lanes bits."""
        return 1 if self.lanes.binary else 8

    @cached_property
    def rows(self) -> int:
        """Rows in parallel."""
        return self.lanes.rows

    @property
    def products(self) -> int:
        """Products a cycle."""
        return self.rows * self.columns

    @cached_property
    def weight_word_bits(self) -> int:
        """Bits of a word of weights."""
        return self.columns * self.lanes.code_bits

    @cached_property
    def input_word_bits(self) -> int:
        """Bits of a word of inputs."""
        return self.columns * self.activation_bits

    @cached_property
    def input_words(self) -> int:
        """Words of inputs in half of their memory."""
        return self.positions * self.depth

    @cached_property
    def most_positions(self) -> int:
        """Positions in half of the memory of sums."""
        return max(self.positions, SUM_DEPTH)

    @cached_property
    def parameter_words(self) -> int:
        """Words of rows' parameters, each of `outputs` rows."""
        return -(-self.rows // self.outputs)

    @cached_property
    def parameter_word_bits(self) -> int:
        """Bits of such a word."""
        return self.outputs * PARAMETER_BITS[self.requantizer]

    @cached_property
    def weight_beats(self) -> int:
        """Cycles in which a word of weights is loaded."""
        return self.beats(self.weight_word_bits)

    @cached_property
    def input_beats(self) -> int:
        """Cycles in which a word of inputs is loaded."""
        return self.beats(self.input_word_bits)

    @cached_property
    def parameter_beats(self) -> int:
        """Cycles in which a word of parameters is loaded."""
        return self.beats(self.parameter_word_bits)

    @cached_property
    def compute_latency(self) -> int:
        """Cycles from the last read of words to the sum in memory: read, product, tree, accumulator.

        Binary products are counted in sixes, which takes another cycle, before they come to the tree.
        """
        terms, counting = (-(-self.columns // 6), 1) if self.lanes.binary else (self.columns, 0)
        return 3 + counting + (terms - 1).bit_length()

    def beats(self, bits: int) -> int:
        """Cycles in which a word of so many bits is loaded."""
        return -(-bits // (8 * self.load_bytes))


def _check_whole(field: str, value: int, least: int) -> None:
    if type(value) is not int or value < least:
        raise SpokeshaveError(f"{field} must be a whole number of at least {least}, not {value!r}")
