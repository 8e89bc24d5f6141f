"""The operations a graph may hold. Weights are named; the graph owns the tensors.

Only `Foreign` is open-ended: it is any ATen operator that the compiler has no kernel for, run by PyTorch.
"""

from dataclasses import dataclass
from typing import Literal

ActivationKind = Literal[
    "relu",
    "clamp",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "gelu_tanh",
    "hardsigmoid",
    "hardswish",
    "elu",
]

RecurrentKind = Literal["gru", "lstm"]

BinaryKind = Literal[
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
]


@dataclass(frozen=True)
class Activation:
    """An element-wise function; `parameters`: (low, high) of clamp, (slope,) of leaky_relu, (alpha,) of elu."""

    kind: ActivationKind
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class Convolution:
    """2-D convolution of `[1, C, H, W]` (a 1-D convolution has H = 1), then residual, then activation.

    `padding` is (top, left, bottom, right). With `residual`, the second input is added before the activation.
    """

    weight: str
    bias: str | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    residual: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias` over the last axis, then residual, then activation; weight is `[out, in]`."""

    weight: str
    bias: str | None
    residual: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Pool:
    """Max or average pooling of `[1, C, H, W]`; `padding` is (top, left, bottom, right).

    Output size is that of the graph's value (which settles ceil mode). Average pooling divides by the window's size
    with padding counted in when `count_padding`, by the number of true elements otherwise.
    """

    kind: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    count_padding: bool = True


@dataclass(frozen=True)
class Activate:
    """An activation that no producing kernel took in."""

    activation: Activation


@dataclass(frozen=True)
class Binary:
    """Element-wise `a op b` with broadcasting, comparisons as 0 and 1.

    `constant` names a weight that stands for the second operand; with `reverse` it is the first (`constant - x`).
    """

    kind: BinaryKind
    constant: str | None = None
    reverse: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Affine:
    """`x * scale + shift` per channel (axis 1): a batch norm in evaluation mode that no convolution took in."""

    scale: str
    shift: str
    activation: Activation | None = None


@dataclass(frozen=True)
class Concatenate:
    """Join values along one axis (never the batch axis)."""

    axis: int


@dataclass(frozen=True)
class Softmax:
    """Softmax over one axis, or its logarithm."""

    axis: int
    logarithm: bool = False


@dataclass(frozen=True)
class LayerNorm:
    """Normalise over the last `axes` axes, then scale and shift."""

    axes: int
    weight: str | None
    bias: str | None
    epsilon: float


@dataclass(frozen=True)
class GroupNorm:
    """Normalise over groups of channels (axis 1) and all positions, then scale and shift per channel."""

    groups: int
    weight: str | None
    bias: str | None
    epsilon: float


@dataclass(frozen=True)
class Mean:
    """Mean over axes (sorted, never the batch axis)."""

    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True)
class Reshape:
    """The same elements in row-major order under the output's shape."""


@dataclass(frozen=True)
class Permute:
    """Axes in another order; axis 0 stays."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """Every `step`-th element of one axis from `start` up to `stop` (exclusive); all non-negative."""

    axis: int
    start: int
    stop: int
    step: int


@dataclass(frozen=True)
class Pad:
    """Pad with a constant: `before[i]` and `after[i]` elements on axis i."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0


@dataclass(frozen=True)
class Recurrent:
    """One layer and direction of a GRU or LSTM over the steps of `[1, T, F]`, as PyTorch defines them.

    Weights are `[gates * H, F]` and `[gates * H, H]`, gates in PyTorch's order: reset, update, new of a GRU; input,
    forget, cell, output of an LSTM. Outputs: the sequence `[1, T, H]`, and the state after the last step, h `[1, H]`
    (and c of an LSTM). The state before the first step comes as further inputs, or as the constants
    `hidden_state` (and `cell_state`), or is zero. With `reverse` the steps run from the last to the first.
    """

    kind: RecurrentKind
    input_weight: str
    hidden_weight: str
    input_bias: str | None
    hidden_bias: str | None
    reverse: bool = False
    hidden_state: str | None = None
    cell_state: str | None = None


@dataclass(frozen=True)
class Attention:
    """softmax(query @ key.T * scale + mask) @ value, head by head, on tokens `[1, T, heads * size]`.

    Inputs are query, key, value and, unless `mask` names a constant, perhaps a mask: numbers to add to the scores, of
    a shape that broadcasts to `[windows, heads, queries, keys]` of one window. Tokens come in `windows` runs of equal
    length that do not see each other; `key_heads` heads of keys and values serve `heads` of queries, neighbours
    together. With `causal`, a query sees the keys up to its own, counted from the last of each. A query that sees
    nothing gives zeros.
    """

    heads: int
    key_heads: int
    scale: float
    windows: int = 1
    causal: bool = False
    mask: str | None = None


@dataclass(frozen=True)
class Take:
    """Elements of one axis at constant places; `indices` names them, an int64 weight."""

    axis: int
    indices: str


@dataclass(frozen=True)
class Expand:
    """Axes of length 1 repeated to the output's shape."""


@dataclass(frozen=True)
class Embedding:
    """Rows of a table by number: `[1, T]` int64 to `[1, T, width]`; others than the table's are refused at run time."""

    weight: str


@dataclass(frozen=True)
class Convert:
    """Whole numbers as float32; with `truth`, 1 for every number but 0."""

    truth: bool = False


@dataclass(frozen=True)
class Where:
    """`yes` where the first input is not 0, else `no`: constants, or the inputs that follow."""

    yes: str | None = None
    no: str | None = None


@dataclass(frozen=True)
class Foreign:
    """An operator without a kernel here, run by PyTorch between compiled segments.

    `target` is the ATen overload (`aten.sort.stable`). `arguments` is a JSON text, a list of positional arguments and
    a dictionary of keyword arguments, where {"value": name} stands for a value, {"weight": name} for a weight,
    {"dtype": name} for an element type and {"device": "cpu"} for where it runs. Values always have the sample axis in
    front; {"value": name, "unbatched": true} is the value without it. `reason` says why it was not compiled.
    """

    target: str
    arguments: str
    reason: str


@dataclass(frozen=True)
class Quantization:
    """How uint8 stands for a real number: `scale * (q - zero_point)`; zero is always one of the numbers."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Quantize:
    """float32 -> uint8: scaled, rounded to the nearest (ties to even), clamped."""

    quantization: Quantization


@dataclass(frozen=True)
class Dequantize:
    """uint8 -> float32."""

    quantization: Quantization


@dataclass(frozen=True)
class Quantized:
    """A layer in integers: uint8 inputs, int8 weights, int32 sums; everything after the sums is float32.

    `layer.weight` names the int8 weight, `weight_scale` its scales, one an output row; the bias stays float32.
    The residual is uint8 with `residual`, else float32; the output is uint8 with `output`, else float32.
    """

    layer: Convolution | Linear
    weight_scale: str
    input: Quantization
    residual: Quantization | None = None
    output: Quantization | None = None

    @property
    def weight(self) -> str:
        """Name of the int8 weight."""
        return self.layer.weight

    @property
    def bias(self) -> str | None:
        """Name of the float32 bias."""
        return self.layer.bias


Operation = (
    Convolution
    | Linear
    | Pool
    | Activate
    | Binary
    | Affine
    | Concatenate
    | Softmax
    | LayerNorm
    | GroupNorm
    | Mean
    | Reshape
    | Permute
    | Slice
    | Pad
    | Recurrent
    | Quantize
    | Dequantize
    | Quantized
    | Attention
    | Take
    | Expand
    | Embedding
    | Convert
    | Where
    | Foreign
)
