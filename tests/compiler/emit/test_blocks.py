"""Blocks that keep only some of their rows are accumulated block by block."""

import torch
import torch.nn.functional as F

from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.operations import Activation, Convolution
from spokeshave.schemes.block_column_row import BlockColumnRow


def test_partial_rows_equal_pytorch_and_are_accumulated(back_end, isa):
    torch.manual_seed(0)
    scheme = BlockColumnRow(0.9, block=(16, 64), row_sparsity=0.5)
    weight = scheme.project(torch.randn(40, 32, 3, 3))
    weights = {"w": weight, "b": torch.randn(40)}
    shape = (1, 40, 33, 35)
    values = {"x": Value("x", (1, 32, 33, 35)), "r": Value("r", shape), "y": Value("y", shape)}
    operation = Convolution("w", "b", padding=(1, 1, 1, 1), residual=True, activation=Activation("relu"))
    graph = Graph(("x", "r"), ("y",), values, (Node("layer", operation, ("x", "r"), ("y",)),), weights)
    packed = {"w": scheme.pack(weight)}

    functions = [
        call.function for step in lower(graph, instruction_set(isa), packed).steps for call in step.calls
    ]
    assert any(name.endswith("_accumulate") for name in functions)
    x, residual = torch.randn(2, 32, 33, 35), torch.randn(2, *shape[1:])
    (result,) = back_end(graph, [x, residual], isa, packed)
    reference = F.relu(F.conv2d(x, weight, weights["b"], padding=1) + residual)
    assert (result - reference).abs().max() <= 1e-5 * reference.abs().max()
