"""The table of ATen operators: a small function each, which appends typed operations or raises NotTypedError."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from spokeshave.compiler.importer.context import Importing, NotTypedError, axis_of, rank
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    ActivationKind,
    Affine,
    Binary,
    Concatenate,
    Convolution,
    GroupNorm,
    LayerNorm,
    Linear,
    Mean,
    Pad,
    Permute,
    Pool,
    Reshape,
    Slice,
    Softmax,
)

ImportFunction = Callable[[Importing, fx.Node], None]
OPERATORS: dict[str, ImportFunction] = {}


def imports(*names: str) -> Callable[[ImportFunction], ImportFunction]:
    """Register the import function of ATen operators (names without overload)."""

    def register(function: ImportFunction) -> ImportFunction:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def arguments(node: fx.Node) -> tuple[Any, ...]:
    """The positional arguments."""
    return node.args


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """A positional or keyword argument."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """A size along both axes.

    >>> pair(3), pair([2]), pair([1, 2])
    ((3, 3), (2, 2), (1, 2))
    """
    entries = (value,) if isinstance(value, int) else tuple(value)
    return (entries[0], entries[-1])


@imports("conv2d")
def convolution(importing: Importing, node: fx.Node) -> None:
    x, weight = arguments(node)[:2]
    stride, dilation = pair(argument(node, 3, "stride", 1)), pair(argument(node, 5, "dilation", 1))
    kernel = importing.tensors[importing.weight(weight)].shape[2:]
    operation = Convolution(
        importing.weight(weight),
        importing.optional_weight(argument(node, 2, "bias")),
        stride,
        _padding(argument(node, 4, "padding", 0), tuple(kernel), dilation),
        dilation,
        argument(node, 6, "groups", 1),
    )
    importing.add(node, operation, importing.value(x))


def _padding(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        total = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
        before = [size // 2 for size in total]
        return (before[0], before[1], total[0] - before[0], total[1] - before[1])
    top, left = pair(padding)
    return (top, left, top, left)


@imports("conv1d")
def convolution_1d(importing: Importing, node: fx.Node) -> None:
    """As a 2-D convolution of one row, with reshapes round it."""
    x, weight = arguments(node)[:2]
    flat = importing.weight(weight)
    wide = f"{flat}.as_2d"
    importing.tensors[wide] = importing.tensors[flat].unsqueeze(2)
    stride, dilation = pair(argument(node, 3, "stride", 1))[0], pair(argument(node, 5, "dilation", 1))[0]
    left = _padding(argument(node, 4, "padding", 0), (1, importing.tensors[flat].shape[2]), (1, dilation))
    operation = Convolution(
        wide,
        importing.optional_weight(argument(node, 2, "bias")),
        (1, stride),
        (0, left[1], 0, left[3]),
        (1, dilation),
        argument(node, 6, "groups", 1),
    )
    before, after = f"{node.name}.row", f"{node.name}.convolved"
    meta = node.meta["val"]
    importing.declare(node, before, x.meta["val"].unsqueeze(2))
    importing.declare(node, after, meta.unsqueeze(2))
    importing.append(node, Reshape(), importing.value(x), before)
    importing.append(node, operation, before, after)
    importing.add(node, Reshape(), after)


@imports("linear")
def linear(importing: Importing, node: fx.Node) -> None:
    x, weight = arguments(node)[:2]
    bias = importing.optional_weight(argument(node, 2, "bias"))
    importing.add(node, Linear(importing.weight(weight), bias), importing.value(x))


@imports("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(importing: Importing, node: fx.Node) -> None:
    """In evaluation mode: one scale and one shift per channel."""
    x, weight, bias, mean, variance = arguments(node)[:5]
    if "_native" not in str(node.target) and arguments(node)[5]:
        raise NotTypedError("a batch norm in training mode uses the batch's own statistics")
    epsilon = arguments(node)[7] if "_native" not in str(node.target) else arguments(node)[6]
    tensors = importing.tensors
    scale = torch.rsqrt(tensors[importing.weight(variance)] + epsilon)
    if weight is not None:
        scale = scale * tensors[importing.weight(weight)]
    shift = -tensors[importing.weight(mean)] * scale
    if bias is not None:
        shift = shift + tensors[importing.weight(bias)]
    operation = Affine(importing.constant(node, scale), importing.constant(node, shift))
    meta = node.meta["val"]
    output = importing.declare(node, None, meta if isinstance(meta, torch.Tensor) else meta[0])
    importing.append(node, operation, importing.value(x), output)
    importing.values[node] = output


PLAIN_ACTIVATIONS: tuple[ActivationKind, ...] = (
    "relu",
    "sigmoid",
    "tanh",
    "silu",
    "hardsigmoid",
    "hardswish",
)


def _plain(kind: ActivationKind) -> ImportFunction:
    def activation(importing: Importing, node: fx.Node) -> None:
        importing.add(node, Activate(Activation(kind)), importing.value(arguments(node)[0]))

    return activation


for _kind in PLAIN_ACTIVATIONS:
    OPERATORS[_kind] = OPERATORS[f"{_kind}_"] = _plain(_kind)


@imports("relu6")
def relu6(importing: Importing, node: fx.Node) -> None:
    importing.add(node, Activate(Activation("clamp", (0.0, 6.0))), importing.value(arguments(node)[0]))


@imports("hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_max")
def clamp(importing: Importing, node: fx.Node) -> None:
    name = str(node.target).split(".")[1]
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if name.startswith("hardtanh"):
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    if name == "clamp_max":
        low, high = None, low
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        raise NotTypedError("a clamp between tensors has no kernel")
    bounds = (float("-inf") if low is None else float(low), float("inf") if high is None else float(high))
    importing.add(node, Activate(Activation("clamp", bounds)), importing.value(arguments(node)[0]))


@imports("leaky_relu", "leaky_relu_")
def leaky_relu(importing: Importing, node: fx.Node) -> None:
    slope = float(argument(node, 1, "negative_slope", 0.01))
    importing.add(node, Activate(Activation("leaky_relu", (slope,))), importing.value(arguments(node)[0]))


@imports("elu", "elu_")
def elu(importing: Importing, node: fx.Node) -> None:
    if argument(node, 2, "scale", 1) != 1 or argument(node, 3, "input_scale", 1) != 1:
        raise NotTypedError("a scaled elu has no kernel")
    alpha = float(argument(node, 1, "alpha", 1.0))
    importing.add(node, Activate(Activation("elu", (alpha,))), importing.value(arguments(node)[0]))


@imports("gelu")
def gelu(importing: Importing, node: fx.Node) -> None:
    kind: ActivationKind = "gelu_tanh" if argument(node, 1, "approximate", "none") == "tanh" else "gelu"
    importing.add(node, Activate(Activation(kind)), importing.value(arguments(node)[0]))


BINARY_KINDS: dict[str, Any] = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "maximum": "maximum",
    "minimum": "minimum",
}


@imports(*BINARY_KINDS, "rsub")
def binary(importing: Importing, node: fx.Node) -> None:
    """Two values, or a value and a constant (a number or a weight)."""
    name = str(node.target).split(".")[1]
    first, second = arguments(node)[:2]
    if name == "rsub":
        name, first, second = "sub", second, first
    if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") or len(arguments(node)) > 2:
        raise NotTypedError("a scaled or rounded arithmetic operation has no kernel")
    kind = BINARY_KINDS[name]
    if first in importing.values and second in importing.values:
        importing.add(node, Binary(kind), importing.value(first), importing.value(second))
    elif first in importing.values:
        importing.add(node, Binary(kind, _operand(importing, node, second)), importing.value(first))
    else:
        importing.add(node, Binary(kind, _operand(importing, node, first), True), importing.value(second))


@imports("reciprocal")
def reciprocal(importing: Importing, node: fx.Node) -> None:
    one = importing.constant(node, torch.tensor(1.0))
    importing.add(node, Binary("divide", one, reverse=True), importing.value(arguments(node)[0]))


def _operand(importing: Importing, node: fx.Node, operand: Any) -> str:
    if isinstance(operand, int | float):
        return importing.constant(node, torch.tensor(float(operand)))
    return importing.weight(operand)


@imports("max_pool2d", "max_pool2d_with_indices")
def max_pool(importing: Importing, node: fx.Node) -> None:
    if any(user.target is operator.getitem and user.args[1] != 0 for user in node.users):
        raise NotTypedError("a max pool that returns indices has no kernel")
    kernel = pair(arguments(node)[1])
    stride = pair(argument(node, 2, "stride") or kernel)
    top, left = pair(argument(node, 3, "padding", 0))
    operation = Pool("max", kernel, stride, (top, left, top, left), pair(argument(node, 4, "dilation", 1)))
    meta = node.meta["val"]
    output = importing.declare(node, None, meta if isinstance(meta, torch.Tensor) else meta[0])
    importing.append(node, operation, importing.value(arguments(node)[0]), output)
    importing.values[node] = output


@imports("avg_pool2d")
def average_pool(importing: Importing, node: fx.Node) -> None:
    if argument(node, 6, "divisor_override") is not None:
        raise NotTypedError("an average pool with its own divisor has no kernel")
    kernel = pair(arguments(node)[1])
    stride = pair(argument(node, 2, "stride") or kernel)
    top, left = pair(argument(node, 3, "padding", 0))
    counted = argument(node, 5, "count_include_pad", True)
    operation = Pool("average", kernel, stride, (top, left, top, left), count_padding=counted)
    importing.add(node, operation, importing.value(arguments(node)[0]))


@imports("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def adaptive_average_pool(importing: Importing, node: fx.Node) -> None:
    """To one position: a mean. To a divisor of the map: a pool."""
    height, width = arguments(node)[0].meta["val"].shape[2:]
    out_height, out_width = (int(size) for size in node.meta["val"].shape[2:])
    if (out_height, out_width) == (1, 1):
        importing.add(node, Mean((2, 3), True), importing.value(arguments(node)[0]))
    elif height % out_height or width % out_width:
        raise NotTypedError(
            f"an adaptive pool of {height} x {width} to {out_height} x {out_width} has uneven windows"
        )
    else:
        window = (height // out_height, width // out_width)
        importing.add(node, Pool("average", window, window), importing.value(arguments(node)[0]))


@imports("mean")
def mean(importing: Importing, node: fx.Node) -> None:
    axes = argument(node, 1, "dim")
    if axes is None or node.kwargs.get("dtype") is not None:
        raise NotTypedError("a mean over the batch axis has no kernel")
    chosen = tuple(sorted(axis_of(arguments(node)[0], axis) for axis in axes))
    importing.add(
        node, Mean(chosen, bool(argument(node, 2, "keepdim", False))), importing.value(arguments(node)[0])
    )


@imports("flatten", "view", "reshape", "_unsafe_view", "unsqueeze", "squeeze", "unflatten", "_reshape_copy")
def reshape(importing: Importing, node: fx.Node) -> None:
    importing.add(node, Reshape(), importing.value(arguments(node)[0]))


@imports("permute")
def permute(importing: Importing, node: fx.Node) -> None:
    axes = tuple(axis % rank(node) for axis in arguments(node)[1])
    if axes[0] != 0:
        raise NotTypedError("it moves the batch axis")
    importing.add(node, Permute(axes), importing.value(arguments(node)[0]))


@imports("transpose")
def transpose(importing: Importing, node: fx.Node) -> None:
    axes = list(range(rank(node)))
    first, second = (axis_of(node, axis) for axis in arguments(node)[1:3])
    axes[first], axes[second] = axes[second], axes[first]
    importing.add(node, Permute(tuple(axes)), importing.value(arguments(node)[0]))


@imports("cat")
def concatenate(importing: Importing, node: fx.Node) -> None:
    names = [importing.value(entry) for entry in arguments(node)[0]]
    importing.add(node, Concatenate(axis_of(node, argument(node, 1, "dim", 0))), *names)


@imports("softmax", "_softmax", "log_softmax", "_log_softmax")
def softmax(importing: Importing, node: fx.Node) -> None:
    logarithm = "log" in str(node.target)
    importing.add(
        node, Softmax(axis_of(node, arguments(node)[1]), logarithm), importing.value(arguments(node)[0])
    )


@imports("layer_norm")
def layer_norm(importing: Importing, node: fx.Node) -> None:
    weight, bias = (
        importing.optional_weight(argument(node, i, key)) for i, key in ((2, "weight"), (3, "bias"))
    )
    operation = LayerNorm(len(arguments(node)[1]), weight, bias, float(argument(node, 4, "eps", 1e-5)))
    importing.add(node, operation, importing.value(arguments(node)[0]))


@imports("group_norm")
def group_norm(importing: Importing, node: fx.Node) -> None:
    weight, bias = (
        importing.optional_weight(argument(node, i, key)) for i, key in ((2, "weight"), (3, "bias"))
    )
    operation = GroupNorm(arguments(node)[1], weight, bias, float(argument(node, 4, "eps", 1e-5)))
    importing.add(node, operation, importing.value(arguments(node)[0]))


@imports("slice")
def slice_axis(importing: Importing, node: fx.Node) -> None:
    source = arguments(node)[0]
    axis = argument(node, 1, "dim", 0) % rank(node)
    size, step = int(source.meta["val"].shape[axis]), argument(node, 4, "step", 1)
    start, stop = argument(node, 2, "start") or 0, argument(node, 3, "end")
    start = min(max(start + size if start < 0 else start, 0), size)
    stop = size if stop is None else min(max(stop + size if stop < 0 else stop, 0), size)
    if (start, stop, step) == (0, size, 1):
        importing.same(node, source)
        return
    importing.add(node, Slice(axis_of(node, axis), start, stop, step), importing.value(source))


@imports("constant_pad_nd", "pad")
def pad(importing: Importing, node: fx.Node) -> None:
    """PyTorch counts axes from the last: (left, right, top, bottom, ...)."""
    if "pad.default" in str(node.target) and argument(node, 2, "mode", "constant") != "constant":
        raise NotTypedError("only padding with a constant has a kernel")
    widths, axes = list(arguments(node)[1]), rank(node)
    before, after = [0] * axes, [0] * axes
    for index in range(len(widths) // 2):
        before[axes - 1 - index], after[axes - 1 - index] = widths[2 * index : 2 * index + 2]
    if min(widths) < 0 or before[0] or after[0]:
        raise NotTypedError("negative padding and padding of the batch axis have no kernel")
    position = 3 if "pad.default" in str(node.target) else 2
    value = argument(node, position, "value", 0.0) or 0.0
    importing.add(node, Pad(tuple(before), tuple(after), float(value)), importing.value(arguments(node)[0]))


@imports("dropout", "clone", "contiguous", "alias", "detach", "detach_", "feature_dropout", "lift_fresh_copy")
def identity(importing: Importing, node: fx.Node) -> None:
    importing.same(node, arguments(node)[0])


@imports("expand", "to", "_to_copy")
def perhaps_identity(importing: Importing, node: fx.Node) -> None:
    """Conversions and expansions that change neither shape nor type."""
    before, after = arguments(node)[0].meta["val"], node.meta["val"]
    if before.shape != after.shape or before.dtype != after.dtype:
        raise NotTypedError("a conversion has no kernel")
    importing.same(node, arguments(node)[0])
