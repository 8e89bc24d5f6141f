"""Imports normalisation and softmax."""

from math import prod

import torch
from torch import Tensor

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.convolution import token_shape
from spokeshave.compiler.importer.maps import to_channels
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.operations import Affine, GroupNorm, LayerNorm, Operation, RMSNorm, Softmax


def batch_norm(context: Context, call: Call) -> Flow:
    """In evaluation mode: one scale and one shift per channel, worked out in float64."""
    if call.get("training") or call.get("use_input_stats"):
        raise NotTypedError("a norm over the batch's own statistics has no kernel")
    mean, variance = (call.weight(f"running_{name}").tensor.double() for name in ("mean", "var"))
    scale = _or(call, "weight", torch.ones_like(mean)) * torch.rsqrt(variance + call["eps"])
    shift = _or(call, "bias", torch.zeros_like(mean)) - mean * scale
    operation = Affine(
        scale=context.constant(f"{call.layer}.scale", scale.float()),
        shift=context.constant(f"{call.layer}.shift", shift.float()),
    )
    return _over_channels(context, call, operation)


def _or(call: Call, name: str, default: Tensor) -> Tensor:
    return default if call[name] is None else call.weight(name).tensor.double()


def first_of_batch_norm(context: Context, call: Call) -> tuple[Flow, None, None]:
    """The core operator also gives the batch's statistics, which evaluation mode leaves empty."""
    return batch_norm(context, call), None, None


def group_norm(context: Context, call: Call) -> Flow:
    """Normalise groups of channels."""
    weight, bias = call.weight_name("weight"), call.weight_name("bias")
    return _over_channels(context, call, GroupNorm(call["num_groups"], weight, bias, call["eps"]))


def native_group_norm(context: Context, call: Call) -> tuple[Flow, None, None]:
    """The core operator also gives mean and deviation, which nothing reads after training."""
    weight, bias = call.weight_name("weight"), call.weight_name("bias")
    operation = GroupNorm(call["group"], weight, bias, call["eps"])
    return _over_channels(context, call, operation), None, None


def instance_norm(context: Context, call: Call) -> Flow:
    """As many groups as channels; with running statistics it is a batch norm."""
    if not call["use_input_stats"]:
        return batch_norm(context, call)
    weight, bias = call.weight_name("weight"), call.weight_name("bias")
    return _over_channels(context, call, GroupNorm(call.shape[1], weight, bias, call["eps"]))


def _over_channels(context: Context, call: Call, operation: Operation) -> Flow:
    maps = to_channels(context, call, call.flow("input"))
    return context.result(call, context.add(call, operation, (maps,), context.values[maps].shape))


def layer_norm(context: Context, call: Call) -> Flow:
    """Normalise the last axes, taken together as one."""
    source, axes = call.flow("input"), len(call["normalized_shape"])
    shape = source.value_shape
    if axes > 1:
        shape = (*shape[:-axes], prod(shape[-axes:]))
    shape = token_shape(shape)
    operation = LayerNorm(1, _flat(context, call, "weight"), _flat(context, call, "bias"), call["eps"])
    tokens = context.reshaped(call, source.name, shape)
    return context.result(call, context.add(call, operation, (tokens,), shape))


def _flat(context: Context, call: Call, name: str) -> str | None:
    if call[name] is None or call.weight(name).tensor.dim() == 1:
        return call.weight_name(name)
    return context.constant(f"{call.weight(name).name}.flat", call.weight(name).tensor.reshape(-1))


def native_layer_norm(context: Context, call: Call) -> tuple[Flow, None, None]:
    """The core operator also gives mean and deviation, which nothing reads after training."""
    return layer_norm(context, call), None, None


def rms_norm(context: Context, call: Call) -> Flow:
    """Divide by the root of the mean square of the last axes, taken together as one."""
    source, axes = call.flow("input"), len(call["normalized_shape"])
    shape = token_shape((*source.value_shape[:-axes], prod(source.value_shape[-axes:])))
    epsilon = torch.finfo(torch.float32).eps if call["eps"] is None else call["eps"]
    tokens = context.reshaped(call, source.name, shape)
    operation = RMSNorm(_flat(context, call, "weight"), epsilon)
    return context.result(call, context.add(call, operation, (tokens,), shape))


def fused_rms_norm(context: Context, call: Call) -> tuple[Flow, None]:
    """The core operator also gives the scale of every row, which nothing reads after training."""
    return rms_norm(context, call), None


def softmax(context: Context, call: Call) -> Flow:
    """Softmax over one axis; over the last axis of many it runs on tokens."""
    source = call.flow("self")
    rank = len(source.shape)
    axis = call["dim"] % max(rank, 1) + int(source.unbatched)
    if axis == 0:
        raise NotTypedError("a softmax over the sample axis has no kernel")
    shape = source.value_shape
    if axis == len(shape) - 1:
        shape = token_shape(shape)
        axis = len(shape) - 1
    value = context.reshaped(call, source.name, shape)
    operation = Softmax(axis, "log" in call.operator, call.get("scale"))
    return context.result(call, context.add(call, operation, (value,), shape))


OPERATORS: dict[str, ImportFunction] = {
    "batch_norm": batch_norm,
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "native_batch_norm"), first_of_batch_norm),
    "group_norm": group_norm,
    "native_group_norm": native_group_norm,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "native_layer_norm": native_layer_norm,
    "rms_norm": rms_norm,
    "_fused_rms_norm": fused_rms_norm,
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "polynomial_softmax"), softmax),
}
