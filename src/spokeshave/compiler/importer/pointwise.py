"""Imports element-wise functions."""

from collections.abc import Callable
from typing import Any

import torch

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, Weight, dtype_name
from spokeshave.compiler.operations import Activate, Activation, ActivationKind, Binary, BinaryKind

INFINITY = float("inf")


def _activate(context: Context, call: Call, activation: Activation) -> Flow:
    source = call.flow("self")
    return context.result(call, context.add(call, Activate(activation), (source.name,), source.value_shape))


def _plain(kind: ActivationKind) -> Callable[[Context, Call], Flow]:
    return lambda context, call: _activate(context, call, Activation(kind))


def relu6(context: Context, call: Call) -> Flow:
    """A clamp to [0, 6]."""
    return _activate(context, call, Activation("clamp", (0.0, 6.0)))


def clamp(context: Context, call: Call) -> Flow:
    """A clamp between numbers, of which one may be missing."""
    low = call.get("min", call.get("min_val"))
    high = call.get("max", call.get("max_val"))
    if isinstance(low, Flow | Weight) or isinstance(high, Flow | Weight):
        raise NotTypedError("a clamp between tensors has no kernel")
    bounds = (-INFINITY if low is None else float(low), INFINITY if high is None else float(high))
    return _activate(
        context, call, Activation("relu") if bounds == (0, INFINITY) else Activation("clamp", bounds)
    )


def leaky_relu(context: Context, call: Call) -> Flow:
    """A leaky relu."""
    return _activate(context, call, Activation("leaky_relu", (float(call["negative_slope"]),)))


def elu(context: Context, call: Call) -> Flow:
    """An elu that is not scaled."""
    if call["scale"] != 1 or call["input_scale"] != 1:
        raise NotTypedError("a scaled elu has no kernel")
    return _activate(context, call, Activation("elu", (float(call["alpha"]),)))


def gelu(context: Context, call: Call) -> Flow:
    """A gelu, exact or by tanh."""
    return _activate(context, call, Activation("gelu_tanh" if call["approximate"] == "tanh" else "gelu"))


def polynomial_gelu(context: Context, call: Call) -> Flow:
    """HeatViT's gelu."""
    return _activate(context, call, Activation("polynomial_gelu", (float(call["scale"]),)))


BINARY_KINDS: dict[str, BinaryKind] = {
    "add": "add",
    "sub": "subtract",
    "rsub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "maximum": "maximum",
    "minimum": "minimum",
}


def binary(context: Context, call: Call) -> Flow:
    """Arithmetic on two values, or on a value and a constant."""
    if call.get("rounding_mode") is not None:
        raise NotTypedError("a rounded division has no kernel")
    first, second = call["self"], _scaled(context, call)
    if call.operator == "rsub":
        first, second = second, first
    kind, shape = BINARY_KINDS[call.operator], _broadcast_shape(call)
    if isinstance(first, Flow) and isinstance(second, Flow):
        operands = [_ranked(context, call, operand) for operand in (first, second)]
        return context.result(call, context.add(call, Binary(kind), operands, shape))
    flow, constant = (first, second) if isinstance(first, Flow) else (second, first)
    operation = Binary(kind, _constant(context, call, constant), reverse=flow is second)
    return context.result(call, context.add(call, operation, (_ranked(context, call, flow),), shape))


def negative(context: Context, call: Call) -> Flow:
    """Times -1."""
    source = call.flow("self")
    operation = Binary("multiply", context.constant(f"{call.node.name}.constant", torch.tensor(-1.0)))
    return context.result(call, context.add(call, operation, (source.name,), source.value_shape))


def reciprocal(context: Context, call: Call) -> Flow:
    """One divided by x."""
    source = call.flow("self")
    one = context.constant(f"{call.node.name}.constant", torch.tensor(1.0))
    operation = Binary("divide", one, reverse=True)
    return context.result(call, context.add(call, operation, (source.name,), source.value_shape))


def power(context: Context, call: Call) -> Flow:
    """Squares and cubes: x times x, and that times x."""
    source, exponent = call.flow("self"), call.get("exponent", 2)
    if exponent not in (2, 3):
        raise NotTypedError("powers other than squares and cubes have no kernel")
    value = source.name
    for _ in range(int(exponent) - 1):
        value = context.add(call, Binary("multiply"), (value, source.name), source.value_shape)
    return context.result(call, value)


def _scaled(context: Context, call: Call) -> Any:
    """The second operand, times `alpha`."""
    operand, alpha = call["other"], call.get("alpha", 1)
    if call.operator == "rsub" and alpha != 1:
        raise NotTypedError("a scaled reverse subtraction has no kernel")
    if alpha == 1:
        return operand
    if isinstance(operand, int | float):
        return operand * alpha
    if isinstance(operand, Weight):
        return Weight(f"{operand.name}.scaled", operand.tensor * alpha)
    operation = Binary("multiply", context.constant(f"{call.node.name}.alpha", torch.tensor(float(alpha))))
    return Flow(context.add(call, operation, (operand.name,), operand.value_shape), operand.shape)


def _broadcast_shape(call: Call) -> tuple[int, ...]:
    return Flow("", call.shape).value_shape


def _ranked(context: Context, call: Call, operand: Flow) -> str:
    """An operand with as many axes as the result, so that sample axes meet each other."""
    shape = _broadcast_shape(call)
    filled = (*(1 for _ in range(len(shape) - len(operand.shape))), *operand.shape)
    return context.reshaped(call, operand.name, filled)


def _constant(context: Context, call: Call, operand: Any) -> str:
    """A number, or a weight of any element type, as a float32 weight."""
    if isinstance(operand, int | float):
        return context.constant(f"{call.node.name}.constant", torch.tensor(float(operand)))
    named = context.weights.get(operand.name) is operand.tensor
    if named and dtype_name(operand.tensor) == "float32":
        return str(operand.name)
    return context.constant(operand.name, operand.tensor.float())


OPERATORS: dict[str, ImportFunction] = {
    "relu": _plain("relu"),
    "sigmoid": _plain("sigmoid"),
    "tanh": _plain("tanh"),
    "silu": _plain("silu"),
    "hardsigmoid": _plain("hardsigmoid"),
    "hardswish": _plain("hardswish"),
    "exp": _plain("exp"),
    "sqrt": _plain("sqrt"),
    "rsqrt": _plain("rsqrt"),
    "relu6": relu6,
    **dict.fromkeys(("hardtanh", "clamp", "clamp_min", "clamp_max"), clamp),
    "leaky_relu": leaky_relu,
    "elu": elu,
    "gelu": gelu,
    "polynomial_gelu": polynomial_gelu,
    "polynomial_sigmoid": _plain("polynomial_sigmoid"),
    **dict.fromkeys(BINARY_KINDS, binary),
    "neg": negative,
    "reciprocal": reciprocal,
    **dict.fromkeys(("pow", "square"), power),
}
