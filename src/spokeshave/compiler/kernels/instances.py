"""The table of kernel instances: what dispatch, the emitter, the tests and the benchmarks all read.

An instance is a shape of a template and nothing else; its name states the contract: instances of different text have
different names.
"""

from dataclasses import dataclass
from typing import Literal

from spokeshave.compiler.operations import Activation, RecurrentKind


@dataclass(frozen=True)
class Epilogue:
    """What happens to a sum before it is stored: residual added, then the activation."""

    residual: bool = False
    activation: Activation | None = None

    @property
    def name(self) -> str:
        """`residual_relu`, `relu`, `plain` ..."""
        parts = ["residual"] * self.residual + ([self.activation.name] if self.activation else [])
        return "_".join(parts) or "plain"


def left_name(kernel: "PanelKernel | IntegerPanelKernel | BFloat16PanelKernel") -> str:
    """What a panel kernel's name says of the lanes that are left."""
    return f"{'up_to_' * kernel.changes}left{kernel.left}" if kernel.left or kernel.changes else ""


@dataclass(frozen=True)
class PanelKernel:
    """Rows that share one list of columns, times many lanes: `rows x vectors` accumulators stay in registers.

    With `accumulate` the sums start from what the output holds and are stored raw: blocks whose kept rows differ from
    block to block add up this way, and `FinishKernel` applies bias and epilogue once per strip. With `left` the last
    vector has so many true lanes, for which rows are the lanes; where their number `changes`, the kernel is told it and
    does so for as many at most. With `shifts` the columns of a panel come in so many groups, each with a mask of the
    lanes that may read x.
    """

    rows: int
    vectors: int
    epilogue: Epilogue = Epilogue()
    accumulate: bool = False
    left: int = 0
    shifts: int = 0
    changes: bool = False

    @property
    def name(self) -> str:
        """Name of the C function."""
        after = "accumulate" if self.accumulate else self.epilogue.name
        left, shifts = left_name(self), f"_shifts{self.shifts}" * (self.shifts > 0)
        left = f"_{left}" * bool(left)
        return f"panel_r{self.rows}_v{self.vectors}_{after}{left}{shifts}"


@dataclass(frozen=True)
class IntegerPanelKernel:
    """Rows that share one list of channel quads, times many lanes, in integers; then requantization.

    `residual` is its element type; `activation` is None where the bounds of requantization do its work; with `amx` the
    sums are made in tile registers; `left` and `changes` as in `PanelKernel`. With `curve`, a table does what an
    activation and requantization do (`quantization/curves.py`).
    """

    rows: int
    vectors: int
    residual: Literal["uint8", "float32"] | None = None
    activation: Activation | None = None
    integer_output: bool = True
    amx: bool = False
    left: int = 0
    changes: bool = False
    curve: bool = False

    @property
    def unit(self) -> int:
        """Rows that make one word of the output."""
        return 4 if self.integer_output else 1

    @property
    def residual_unit(self) -> int:
        """Rows that make one word of the residual."""
        return 4 if self.residual == "uint8" else 1

    @property
    def name(self) -> str:
        """Name of the C function."""
        after = [f"residual_{self.residual}"] * (self.residual is not None)
        after += [self.activation.name] if self.activation else []
        after += ["curve"] * self.curve
        after += ["to_uint8" if self.integer_output else "to_float32"]
        after += ["amx"] * self.amx + [left_name(self)] * bool(left_name(self))
        return f"panel_int8_r{self.rows}_v{self.vectors}_{'_'.join(after)}"


@dataclass(frozen=True)
class BFloat16PanelKernel:
    """Rows that share one list of channel pairs, times many lanes, with float32 sums.

    `residual` is its element type; with `amx` the sums are made in tile registers; `left` and
    `changes` as in `PanelKernel`.
    """

    rows: int
    vectors: int
    residual: Literal["bfloat16", "float32"] | None = None
    activation: Activation | None = None
    rounded_output: bool = True
    amx: bool = False
    left: int = 0
    changes: bool = False

    @property
    def unit(self) -> int:
        """Rows that make one word of the output."""
        return 2 if self.rounded_output else 1

    @property
    def residual_unit(self) -> int:
        """Rows that make one word of the residual."""
        return 2 if self.residual == "bfloat16" else 1

    @property
    def name(self) -> str:
        """Name of the C function."""
        after = [f"residual_{self.residual}"] * (self.residual is not None)
        after += [self.activation.name] if self.activation else []
        after += ["to_bf16" if self.rounded_output else "to_float32"]
        after += ["amx"] * self.amx + [left_name(self)] * bool(left_name(self))
        return f"panel_bf16_r{self.rows}_v{self.vectors}_{'_'.join(after)}"


@dataclass(frozen=True)
class SubsetKernel:
    """Rows that keep different columns, times many lanes: a loop for the columns of every subset of the rows.

    With `masked` each column has a mask of the lanes that may read x.
    """

    rows: int
    vectors: int
    epilogue: Epilogue = Epilogue()
    masked: bool = False

    @property
    def subsets(self) -> int:
        """Number of subsets that have a row."""
        return (1 << self.rows) - 1

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"subset_r{self.rows}_v{self.vectors}_{self.epilogue.name}{'_masked' * self.masked}"


@dataclass(frozen=True)
class WinogradKernel:
    """A convolution of 3 x 3 by Winograd's algorithm: `tiles x vectors` accumulators, outputs being the lanes.

    `pooled`: of every two by two outputs it writes the largest.
    """

    tiles: int
    vectors: int
    epilogue: Epilogue = Epilogue()
    pooled: bool = False

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"winograd_t{self.tiles}_v{self.vectors}_{self.epilogue.name}{'_pooled' * self.pooled}"


@dataclass(frozen=True)
class FinishKernel:
    """Bias, residual and activation on rows whose sums were accumulated block by block."""

    epilogue: Epilogue = Epilogue()

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"finish_{self.epilogue.name}"


@dataclass(frozen=True)
class VectorKernel:
    """Matrix times one or a few vectors: `rows` neighbouring outputs are the lanes, and share one list of columns.

    `piece` is how many of them fill one register, `vectors` how many vectors share one load of a weight. With
    `prefetch` weights are asked for ahead of their use, which pays where they come from beyond the level-2 cache, or
    are mixed with places;
    with `wide` the column numbers have 32 bits instead of 16; with `half` the weights are bfloat16. With `segment` the
    rows keep different columns, each within so many behind the common one, and the places there are a few bits each;
    with `scattered` the rows are in an order of their own.
    """

    rows: int
    piece: int
    vectors: int
    epilogue: Epilogue = Epilogue()
    prefetch: bool = False
    wide: bool = False
    half: bool = False
    segment: int = 0
    scattered: bool = False

    @property
    def weight(self) -> str:
        """C type of a weight."""
        return "uint16_t" if self.half else "float"

    @property
    def constants(self) -> tuple[tuple[str, str], ...]:
        """C types and names of the packed matrix's arrays, in the order of the driver's arguments."""
        places = (("int32_t", "places"),) if self.segment else ()
        numbers = (("int32_t", "numbers"),) if self.scattered else ()
        fixed = ((self.index, "columns"), ("int32_t", "column_start"), (self.weight, "weights"))
        return (*fixed, *places, ("float", "bias"), *numbers)

    @property
    def index(self) -> str:
        """C type of a column number."""
        return "int32_t" if self.wide else "uint16_t"

    @property
    def name(self) -> str:
        """Name of the C function."""
        options = "_half" * self.half + "_prefetch" * self.prefetch + "_wide" * self.wide
        segment = f"_segment{self.segment}" if self.segment else ""
        size = f"r{self.rows}_p{self.piece}_v{self.vectors}"
        return f"vector_{size}_{self.epilogue.name}{segment}{'_scattered' * self.scattered}{options}"


@dataclass(frozen=True)
class IntegerVectorKernel:
    """The same in integers: a word of four int8 weights meets a word of four uint8 of the vector, then requantization.

    With `gathered` the four are any columns, read one by one; with `segment` every row's own, each within so many
    behind a common one; else neighbours that are kept or left out together. `scattered` as in the float kernel.
    `lanes` is the width of a register, `residual` its element type; `activation` is None where the bounds of
    requantization do its work.
    """

    rows: int
    lanes: int
    vectors: int
    gathered: bool = False
    prefetch: bool = False
    wide: bool = False
    residual: Literal["uint8", "float32"] | None = None
    activation: Activation | None = None
    integer_output: bool = False
    segment: int = 0
    scattered: bool = False

    @property
    def constants(self) -> tuple[tuple[str, str], ...]:
        """As those of the float kernel."""
        places = (("int32_t", "places"),) if self.segment else ()
        numbers = (("int32_t", "numbers"),) if self.scattered else ()
        fixed = ((self.index, "columns"), ("int32_t", "column_start"), ("int32_t", "weights"))
        after = (("int32_t", "start"), ("float", "scale"), ("float", "shift"))
        return (*fixed, *places, *after, *numbers)

    @property
    def index(self) -> str:
        """C type of a column number."""
        return "int32_t" if self.wide else "uint16_t"

    @property
    def name(self) -> str:
        """Name of the C function."""
        options = "_gathered" * self.gathered + "_prefetch" * self.prefetch + "_wide" * self.wide
        options += (f"_segment{self.segment}" if self.segment else "") + "_scattered" * self.scattered
        after = [f"residual_{self.residual}"] * (self.residual is not None)
        after += [self.activation.name] if self.activation else []
        after += ["to_uint8" if self.integer_output else "to_float32"]
        size = f"r{self.rows}_l{self.lanes}_v{self.vectors}"
        return f"vector_int8_{size}_{'_'.join(after)}{options}"


@dataclass(frozen=True)
class RecurrentKernel:
    """A recurrent layer over a whole sequence; `product` multiplies the state with its weights, step by step."""

    kind: RecurrentKind
    product: VectorKernel | IntegerVectorKernel

    @property
    def gates(self) -> int:
        """How many times the state's size the rows of the weights are."""
        return {"gru": 3, "lstm": 4}[self.kind]

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"{self.kind}_{self.product.name}"


@dataclass(frozen=True)
class SelectedKernel:
    """Every token times a matrix of its own; `product` multiplies each matrix with the tokens that choose it."""

    product: VectorKernel | IntegerVectorKernel | PanelKernel | SubsetKernel

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"selected_{self.product.name}"


@dataclass(frozen=True)
class DepthwiseKernel:
    """A convolution of every channel on its own, `taps` = rows x columns of the kernel, stride 1 or 2 both ways.

    With `masked` maps lie without gaps: what a column of the kernel reads of the next row is masked.
    """

    taps: tuple[int, int]
    stride: int
    epilogue: Epilogue = Epilogue()
    masked: bool = False

    @property
    def name(self) -> str:
        """Name of the C function."""
        masked = "_masked" if self.masked else ""
        return f"depthwise_{self.taps[0]}x{self.taps[1]}_s{self.stride}{masked}_{self.epilogue.name}"


@dataclass(frozen=True)
class PointwiseKernel:
    """An activation over every element of a value."""

    activation: Activation

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"pointwise_{self.activation.name}"


@dataclass(frozen=True)
class ProductKernel:
    """Two matrices that are both values: `rows x vectors` accumulators stay in registers.

    With `half` they are bfloat16, in words of two numbers that are multiplied and added together; with `amx` these are
    summed in tile registers.
    """

    rows: int
    vectors: int
    half: bool = False
    amx: bool = False

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"product{'_half' * self.half}_r{self.rows}_v{self.vectors}{'_amx' * self.amx}"


@dataclass(frozen=True)
class AttentionKernel:
    """Attention whose heads have `head` channels in their values; queries go in tiles as wide as the product's.

    With `polynomial` its exponentials are those of `spokeshave.polynomials`.
    """

    product: ProductKernel
    head: int
    polynomial: bool = False

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"attention_h{self.head}_{'polynomial_' * self.polynomial}{self.product.name}"


@dataclass(frozen=True)
class MatMulKernel:
    """Matrices times matrices, both values; `product` multiplies block by block."""

    product: ProductKernel

    @property
    def name(self) -> str:
        """Name of the C function."""
        return f"matmul_{self.product.name}"


Kernel = (
    PanelKernel
    | IntegerPanelKernel
    | BFloat16PanelKernel
    | SubsetKernel
    | WinogradKernel
    | FinishKernel
    | VectorKernel
    | IntegerVectorKernel
    | RecurrentKernel
    | SelectedKernel
    | DepthwiseKernel
    | PointwiseKernel
    | ProductKernel
    | AttentionKernel
    | MatMulKernel
)

VECTOR_ROWS = (8, 16, 32, 64)
SEGMENT_LENGTHS = (16, 32, 64, 128)


def place_bits(segment: int) -> int:
    """How many bits a place in a segment takes."""
    return (segment - 1).bit_length()


def places_per_word(segment: int, each: int = 1) -> int:
    """How many slots share a word of 32 bits, if each has so many places in parts of the word of their own."""
    return 32 // each // place_bits(segment)
