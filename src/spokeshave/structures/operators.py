"""What each operator of an exported program ties together, one small function each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from spokeshave.polynomials import OPERATORS
from spokeshave.structures.labels import Axes, Axis, Labels
from spokeshave.structures.reshape import reshaped
from spokeshave.workload import arguments_of, module_of

aten = torch.ops.aten
FIXED_AXIS = "it meets values that cannot shrink, such as the network's inputs"
COMPUTED = "what reads its outputs has a weight that is computed, as by a parametrization"


@dataclass(frozen=True)
class Heads:
    """A place in a module's code where channels are cut into heads of `features` each."""

    module: str
    axis: tuple[int, ...]
    features: int


class Values:
    """Axes of every value so far; what is unknown cannot shrink. `axes` of a node that gives several is a list."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.axes: dict[fx.Node, Any] = {}
        self.heads: list[Heads] = []
        self.produced: dict[str, Axis] = {}  # what a layer's weight makes, by its placeholder

    def of(self, value: Any) -> Axes:
        """Axes of an operand."""
        return self.axes[value] if isinstance(value, fx.Node) else ()

    def keep(self, node: fx.Node, why: str) -> None:
        """What the node gives may not shrink."""
        found = self.axes[node]
        for axes in found if isinstance(found, list) else [found]:
            self.labels.keep(axes, why)

    def fixed(self, node: fx.Node, why: str) -> Any:
        """Nothing that goes into the node may shrink."""
        for source in node.all_input_nodes:
            self.keep(source, why)
        value = node.meta.get("val")
        return [_none(part) for part in value] if isinstance(value, list | tuple) else _none(value)


Rule = Callable[[Values, fx.Node, dict[str, Any]], Any]


def propagate(values: Values, node: fx.Node) -> Any:
    """The axes of what a node computes."""
    if node.target in RULES:
        return RULES[node.target](values, node, arguments_of(node))
    if getattr(node.target, "__name__", "") == "getitem":
        source, index = node.args
        return values.axes[source][index]  # type: ignore[index]
    return values.fixed(node, f"{node.target} is not known to treat its slices one by one")


def _read(values: Values, weight: Axis, inputs: Axis) -> None:
    """Tie a weight's axis of inputs to what it meets there."""
    values.labels.tie(weight, inputs, COMPUTED if weight is None else "its inputs are the network's inputs")


def _convolution(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    inputs, weight = values.of(given["input"]), values.of(given["weight"])
    channels, shape = shape_of(given["input"])[1], shape_of(given["weight"])
    values.produced.setdefault(given["weight"].name, weight[0])
    if given["bias"] is not None:
        values.labels.tie(weight[0], values.of(given["bias"])[0], FIXED_AXIS)
    if given["groups"] == channels == shape[0] and channels > 1:  # depthwise
        values.labels.tie(inputs[1], weight[0], FIXED_AXIS)
    elif given["groups"] == 1:
        _read(values, weight[1], inputs[1])
    else:
        values.labels.keep(
            (inputs[1], weight[0], weight[1]), "a convolution in groups ties channels by position"
        )
    return (None, weight[0], *[None] * (len(shape) - 2))


def _linear(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    inputs, weight = values.of(given["input"]), values.of(given["weight"])
    values.produced.setdefault(given["weight"].name, weight[0])
    if given["bias"] is not None:
        values.labels.tie(weight[0], values.of(given["bias"])[0], FIXED_AXIS)
    _read(values, weight[1], inputs[-1])
    return (*inputs[:-1], weight[0])


def _product_and_bias(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    """A linear layer whose weight is `[inputs, outputs]`, such as GPT-2's."""
    inputs, weight, bias = values.of(given["mat1"]), values.of(given["mat2"]), values.of(given["self"])
    if len(bias) != 1 or (given["beta"], given["alpha"]) != (1, 1):
        return values.fixed(node, f"{node.target} is more than a linear layer here")
    values.produced.setdefault(given["mat2"].name, weight[1])
    values.labels.tie(weight[1], bias[0], FIXED_AXIS)
    _read(values, weight[0], inputs[-1])
    return (*inputs[:-1], weight[1])


def _batch_norm(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = values.of(given["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if given[name] is not None:
            values.labels.tie(axes[1], values.of(given[name])[0], FIXED_AXIS)
    return axes


def _group_norm(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    """Means are taken over each group, so the channels of a group stay or go together."""
    axes, groups = values.of(given["input"]), given["num_groups"]
    channels = axes[1]
    for name in ("weight", "bias"):
        if given[name] is not None:
            values.labels.tie(channels, values.of(given[name])[0], FIXED_AXIS)
    if groups == 1 or given["weight"] is None:
        values.labels.keep(
            (channels,), "a group norm of one group, or without weights, counts on all of them"
        )
    elif channels is not None:
        size = len(channels) // groups
        for first in range(0, len(channels), size):
            values.labels.tie_all(channels[first : first + size])
    return axes


def _recurrent(values: Values, node: fx.Node, given: dict[str, Any]) -> list[Axes]:
    """A unit of all layers and directions goes together: its gates, its state, and what reads them."""
    inputs, parameters = values.of(given["input"]), given["params"]
    directions, per_layer = 1 + given["bidirectional"], 4 if given["has_biases"] else 2
    passes = given["num_layers"] * directions
    if len(parameters) != per_layer * passes:
        return values.fixed(node, "a recurrent layer with projections counts on all of its units")
    units = values.labels.fresh(shape_of(parameters[1])[1])
    values.labels.keep(inputs[:-1], FIXED_AXIS)
    states = given["hx"] if isinstance(given["hx"], list | tuple) else [given["hx"]]
    if any(state.target != aten.zeros.default for state in states):
        values.labels.keep(
            (units, *(axis for state in states for axis in values.of(state))), "its first states are given"
        )
    for number in range(passes):
        own = parameters[per_layer * number : per_layer * (number + 1)]
        for parameter in own:
            rows = values.of(parameter)[0]
            values.labels.tie(rows, units * (len(rows or ()) // len(units)), FIXED_AXIS)
        for weight, read in zip(
            own, (inputs[-1] if number < directions else units * directions, units), strict=False
        ):
            values.produced.setdefault(weight.name, units)
            _read(values, values.of(weight)[1], read)
    behind = (None,) * (len(inputs) - 1)
    return [(*behind, units * directions), *[(*behind, units)] * len(states)]


def _layer_norm(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = values.of(given["input"])
    last = axes[-len(given["normalized_shape"]) :]
    values.labels.keep(last, "a layer norm takes its mean and variance over all of them")
    for name in ("weight", "bias"):
        values.labels.keep(values.of(given[name]), FIXED_AXIS)
    return axes


def _same(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    return values.of(node.args[0])


def _pointwise(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    """Operands meet element by element, axes counted from the last; an axis of length 1 goes with any."""
    shape = shape_of(node)
    found: list[Axis] = [None] * len(shape)
    seen = [False] * len(shape)
    for operand in (argument for argument in node.args if isinstance(argument, fx.Node)):
        offset = len(shape) - len(shape_of(operand))
        for index, (axis, size) in enumerate(zip(values.of(operand), shape_of(operand), strict=True), offset):
            if size == 1 and shape[index] != 1:
                values.labels.keep((axis,), "it is spread over an axis")
            elif size != 1:
                found[index] = values.labels.tie(found[index], axis, FIXED_AXIS) if seen[index] else axis
                seen[index] = True
    return tuple(found)


def _pool(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    return (*values.of(node.args[0])[:2], *[None] * (len(shape_of(node)) - 2))


def _mean(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = values.of(node.args[0])
    dims = {dim % len(axes) for dim in given["dim"] or range(len(axes))}
    values.labels.keep((axes[dim] for dim in dims), "a mean is taken over all of them")
    kept = given["keepdim"]
    return tuple(
        None if index in dims else axis for index, axis in enumerate(axes) if kept or index not in dims
    )


def _softmax(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = values.of(node.args[0])
    values.labels.keep((axes[given["dim"]],), "a softmax is taken over all of them")
    return axes


def _reshape(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    source = node.args[0]
    axes = reshaped(values.labels, values.of(source), shape_of(source), shape_of(node))
    if len(axes) > 2 and axes[-2] is not None and axes[-1] is None:
        values.heads.append(Heads(module_of(node), axes[-2], shape_of(node)[-1]))
    return axes


def _transpose(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = list(values.of(node.args[0]))
    one, other = given["dim0"], given["dim1"]
    axes[one], axes[other] = axes[other], axes[one]
    return tuple(axes)


def _permute(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = values.of(node.args[0])
    return tuple(axes[dim] for dim in given["dims"])


def _expand(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes, sizes, shape = values.of(node.args[0]), shape_of(node.args[0]), shape_of(node)
    offset = len(shape) - len(sizes)
    stays = [size == shape[offset + index] and size != 1 for index, size in enumerate(sizes)]
    return (*[None] * offset, *(axis if same else None for axis, same in zip(axes, stays, strict=True)))


def _concatenate(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    shapes = [shape_of(part) for part in given["tensors"]]  # PyTorch lets tensors [0] join any others
    tensors = [part for part, shape in zip(given["tensors"], shapes, strict=True) if shape != (0,)]
    parts, dim = [values.of(part) for part in tensors], given["dim"] % len(shape_of(node))
    found: list[Axis] = []
    for index in range(len(parts[0])):
        axes = [part[index] for part in parts]
        if index != dim:
            axis = axes[0]
            for other in axes[1:]:
                axis = values.labels.tie(axis, other, FIXED_AXIS) if shape_of(node)[index] != 1 else None
            found.append(axis)
        elif all(axis is None for axis in axes):
            found.append(None)
        else:
            found.append(_joined(values, axes, [shape_of(part)[dim] for part in tensors]))
    return tuple(found)


def _pad(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    """Padding in front of and behind axes, the last axis first."""
    axes, sizes = list(values.of(node.args[0])), shape_of(node.args[0])
    amounts = given["pad"]
    for index in range(len(amounts) // 2):
        before, after = amounts[2 * index : 2 * index + 2]
        axis = axes[-1 - index]
        if axis is not None and (before or after):
            if min(before, after) < 0:
                return values.fixed(node, "it is cut at a fixed place")
            sides = [None, axis, None]
            axes[-1 - index] = _joined(
                values, sides, [before, sizes[-1 - index], after], "the network pads it with zeros"
            )
    return tuple(axes)


def _joined(values: Values, axes: Sequence[Axis], sizes: Sequence[int], why: str = FIXED_AXIS) -> Axis:
    """Axes end to end; parts that cannot shrink get labels that stay."""
    found: tuple[int, ...] = ()
    for axis, size in zip(axes, sizes, strict=True):
        if axis is None:
            axis = values.labels.fresh(size)
            values.labels.keep((axis,), why)
        found += axis
    return found


def _slice(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes, dim = list(values.of(node.args[0])), given["dim"]
    if shape_of(node)[dim] != shape_of(node.args[0])[dim]:
        values.labels.keep((axes[dim],), "it is cut at a fixed place")
        axes[dim] = None
    return tuple(axes)


def _select(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    axes = list(values.of(node.args[0]))
    values.labels.keep((axes.pop(given["dim"]),), "one of them is picked by its place")
    return tuple(axes)


def _unbind(values: Values, node: fx.Node, given: dict[str, Any]) -> list[Axes]:
    return [_select(values, node, given)] * len(node.meta["val"])


def _attention(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    query, key, value = (values.of(given[name]) for name in ("query", "key", "value"))
    values.labels.keep((query[-1], key[-1], value[-1], query[-2], key[-2], value[-2]), FIXED_AXIS)
    if given["attn_mask"] is not None:
        values.labels.keep(values.of(given["attn_mask"]), FIXED_AXIS)
    heads = shape_of(given["query"])[-3] if len(query) > 2 else 1
    if any(shape_of(given[name])[-3] != heads for name in ("key", "value") if len(query) > 2):
        return values.fixed(node, "several heads share one key")
    mask = given["attn_mask"]
    if mask is not None and len(shape_of(mask)) > 2 and shape_of(mask)[-3] != 1:
        return values.fixed(node, "every head has a mask of its own")
    lead = [
        values.labels.tie(values.labels.tie(q, k, FIXED_AXIS), v, FIXED_AXIS) if size != 1 else None
        for q, k, v, size in zip(query[:-2], key[:-2], value[:-2], shape_of(node)[:-2], strict=True)
    ]
    return (*lead, None, None)


def _product(values: Values, node: fx.Node, given: dict[str, Any]) -> Axes:
    """Of two stacks of matrices, such as attention that is written out."""
    left, right = (values.of(argument) for argument in node.args[:2])
    if len(left) != len(right) or len(left) < 3:
        return values.fixed(node, f"{node.target} is not known to treat its slices one by one")
    values.labels.keep((*left[-2:], *right[-2:]), FIXED_AXIS)
    if shape_of(node.args[0])[:-2] != shape_of(node.args[1])[:-2]:
        return values.fixed(node, "several heads share one matrix")
    pairs = zip(left[:-2], right[:-2], shape_of(node)[:-2], strict=True)
    return (*(values.labels.tie(a, b, FIXED_AXIS) if size != 1 else None for a, b, size in pairs), None, None)


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of what a node computes."""
    return tuple(value.meta["val"].shape)


def _none(value: Any) -> Axes:
    return (None,) * len(value.shape) if isinstance(value, torch.Tensor) else ()


UNARY = (
    *(aten.relu.default, aten.relu_.default, aten.gelu.default, aten.silu.default, aten.silu_.default),
    *(aten.hardtanh.default, aten.hardtanh_.default, aten.hardswish.default, aten.hardswish_.default),
    *(aten.hardsigmoid.default, aten.sigmoid.default, aten.tanh.default, aten.leaky_relu.default),
    *(aten.elu.default, aten.dropout.default, aten.clone.default, aten.contiguous.default, aten.neg.default),
    *(aten.to.dtype, aten.detach.default, aten.alias.default, aten.pow.Tensor_Scalar, aten.exp.default),
    *(
        aten.relu6.default,
        aten.softplus.default,
        aten.mish.default,
        aten.clamp.default,
        aten.dropout_.default,
    ),
    *(OPERATORS.polynomial_gelu.default, OPERATORS.polynomial_sigmoid.default),
)
BINARY = (
    *(aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.mul_.Tensor, aten.div.Tensor),
    *(aten.maximum.default, aten.minimum.default),
)
POOLS = (
    *(aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default),
    *(aten.max_pool1d.default, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default),
)
RESHAPES = (
    *(aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten._unsafe_view.default),
    *(aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default, aten.unflatten.int),
)
RULES: dict[Any, Rule] = {
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys(BINARY, _pointwise),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(RESHAPES, _reshape),
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.conv3d.default), _convolution),
    **dict.fromkeys((aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding), _convolution),
    **dict.fromkeys((aten.pad.default, aten.constant_pad_nd.default), _pad),
    **dict.fromkeys((aten.matmul.default, aten.bmm.default), _product),
    aten.linear.default: _linear,
    aten.addmm.default: _product_and_bias,
    aten.batch_norm.default: _batch_norm,
    aten.layer_norm.default: _layer_norm,
    aten.group_norm.default: _group_norm,
    **dict.fromkeys((aten.gru.input, aten.lstm.input), _recurrent),
    **dict.fromkeys((aten.rnn_tanh.input, aten.rnn_relu.input), _recurrent),
    aten.mean.dim: _mean,
    **dict.fromkeys((aten.softmax.int, OPERATORS.polynomial_softmax.default), _softmax),
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.expand.default: _expand,
    aten.cat.default: _concatenate,
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.unbind.int: _unbind,
    aten.scaled_dot_product_attention.default: _attention,
}
