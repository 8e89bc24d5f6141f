"""A kernel's name says all that its text depends on, so that one program may hold any of them together."""

from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.emit.source import kernel_text
from spokeshave.compiler.kernels.instances import Epilogue, Kernel, ProductKernel, VectorKernel
from spokeshave.compiler.operations import Activation

ACTIVATIONS = (
    None, Activation("relu"), Activation("leaky_relu", (0.1,)), Activation("leaky_relu", (-0.1,)),
    Activation("clamp", (0.0, 6.0)), Activation("clamp", (-float("inf"), 1e-5)), Activation("gelu_tanh"),
)  # fmt: skip
CHOICES = {
    "epilogue": [Epilogue(residual, activation) for residual in (False, True) for activation in ACTIVATIONS],
    "activation": list(ACTIVATIONS), "residual": [None, "float32"], "kind": ["gru", "lstm"],
    "rows": [8, 16], "piece": [4, 8], "lanes": [4, 8], "vectors": [1, 2, 3], "tiles": [2, 4],
    "left": [0, 3], "shifts": [0, 2], "segment": [0, 16], "head": [16, 32], "taps": [(3, 3), (5, 5)], "stride": [1, 2],
}  # fmt: skip
PRODUCTS = {"AttentionKernel": ProductKernel, "MatMulKernel": ProductKernel}


def drawn(draw, kind):
    """An instance of a kind; its product, where it has one, is drawn as well."""
    made = {}
    for field in fields(kind):
        if field.name == "product":
            made[field.name] = drawn(draw, PRODUCTS.get(kind.__name__, VectorKernel))
        else:
            made[field.name] = draw(st.sampled_from(choices(kind, field.name)))
    return kind(**made)


def choices(kind, name):
    wanted = kind.__name__ == "PointwiseKernel" and name == "activation"
    return list(ACTIVATIONS[1:]) if wanted else CHOICES.get(name, [False, True])


def changed(draw, kernel):
    """The instance with another choice of one field."""
    name = draw(st.sampled_from([field.name for field in fields(kernel)]))
    if name == "product":
        return replace(kernel, product=changed(draw, kernel.product))
    return replace(kernel, **{name: draw(st.sampled_from(choices(type(kernel), name)))})


@pytest.mark.parametrize("kind", get_args(Kernel), ids=lambda kind: kind.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_kernels_of_one_name_have_one_text(kind, data):
    kernel = drawn(data.draw, kind)
    other = changed(data.draw, kernel)
    if kernel.name == other.name and kernel != other:
        assert kernel_text(kernel) == kernel_text(other)


class Clamps(nn.Module):
    def forward(self, x):
        return x.clamp(max=0.2) * x.clamp(min=-0.1) + x.sin().clamp(max=0.3)


def test_clamps_of_several_bounds_in_one_program():
    x = torch.linspace(-1, 1, 24).view(3, 8)
    torch.testing.assert_close(compile_network(Clamps(), x[:1])(x), Clamps()(x))
