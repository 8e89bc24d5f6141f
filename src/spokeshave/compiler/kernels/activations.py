"""Activations as C expressions on vectors; the functions are in `activations.h` and `gelu.h`."""

from spokeshave.compiler.operations import Activation


def activation_call(activation: Activation | None, value: str) -> str:
    """C expression of an activation applied to a vector expression.

    >>> activation_call(Activation("clamp", (0.0, 6.0)), "a")
    'activate_clamp(a, 0x0.0p+0f, 0x1.8000000000000p+2f)'
    >>> activation_call(None, "a")
    'a'
    """
    if activation is None:
        return value
    parameters = "".join(f", {float_literal(parameter)}" for parameter in activation.parameters)
    return f"activate_{activation.kind}({value}{parameters})"


def float_literal(value: float) -> str:
    """A C literal that is exactly this float."""
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{float(value).hex()}f"
