"""Imported graphs, run by the reference, equal PyTorch; what has no typed operation is foreign, with its reason."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler.importer import OutputStructure, import_program
from spokeshave.compiler.operations import Convolution, Foreign, Linear, Slice
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.reference import run_foreign, run_reference
from spokeshave.compiler.verify import verify
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network


class Function(nn.Module):
    """A module of one function, with a weight to use."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(6, 5, 3, 3))

    def forward(self, x):
        return self.function(self, x)


MAP = (5, 8, 6)
TYPED = {
    "conv": lambda m, x: F.conv2d(x, m.weight, stride=2, padding=1),
    "conv same": lambda m, x: F.conv2d(x, m.weight, padding="same", dilation=2),
    "conv valid": lambda m, x: F.conv2d(x, m.weight, padding="valid"),
    "conv1d": lambda m, x: F.conv1d(x.flatten(2), m.weight[:, :, 0], padding=2, stride=2, dilation=2),
    "computed weight": lambda m, x: F.conv2d(x, m.weight / m.weight.norm()),
    "relu": lambda m, x: torch.relu(x),
    "relu in place": lambda m, x: F.relu(x * 1.0, inplace=True),
    "relu6": lambda m, x: F.relu6(x),
    "hardtanh": lambda m, x: F.hardtanh(x, -0.5, 0.25),
    "clamp": lambda m, x: x.clamp(-0.5, 0.25),
    "clamp below": lambda m, x: x.clamp(min=0.1),
    "clamp above": lambda m, x: x.clamp_max(0.1),
    "leaky relu": lambda m, x: F.leaky_relu(x, 0.2),
    "sigmoid": lambda m, x: torch.sigmoid(x),
    "tanh": lambda m, x: torch.tanh(x),
    "silu": lambda m, x: F.silu(x),
    "gelu": lambda m, x: F.gelu(x),
    "gelu tanh": lambda m, x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": lambda m, x: F.hardsigmoid(x),
    "hardswish": lambda m, x: F.hardswish(x),
    "elu": lambda m, x: F.elu(x, 0.7),
    "add": lambda m, x: x + torch.relu(x),
    "subtract from a number": lambda m, x: 1.0 - x,
    "divide a number": lambda m, x: 2.0 / torch.sigmoid(x),
    "multiply by a weight": lambda m, x: x * m.weight[0, :, :1, :1],
    "maximum": lambda m, x: torch.maximum(x, torch.tanh(x)),
    "max pool": lambda m, x: F.max_pool2d(x, 3, 2, 1),
    "max pool ceil": lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "average pool": lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive to one": lambda m, x: F.adaptive_avg_pool2d(x, 1),
    "adaptive divisor": lambda m, x: F.adaptive_avg_pool2d(x, (4, 2)),
    "mean": lambda m, x: x.mean((2, 3)),
    "flatten": lambda m, x: x.flatten(1),
    "transpose": lambda m, x: x.flatten(2).transpose(1, 2),
    "permute": lambda m, x: x.permute(0, 2, 3, 1),
    "cat": lambda m, x: torch.cat([x, torch.relu(x)], 1),
    "softmax": lambda m, x: F.softmax(x, 1),
    "log softmax": lambda m, x: F.log_softmax(x.flatten(1), -1),
    "layer norm": lambda m, x: F.layer_norm(x.flatten(2), (48,)),
    "group norm": lambda m, x: F.group_norm(x, 5),
    "slice": lambda m, x: x[:, 1:-1, ::2],
    "pad": lambda m, x: F.pad(x, (1, 2, 0, 0, 2, 1), value=0.5),
    "dropout": lambda m, x: F.dropout(torch.relu(x), 0.5, m.training),
    "batch norm": lambda m, x: F.batch_norm(
        x, m.weight[0, :, 0, 0].detach(), m.weight[1, :, 0, 0].detach().square()
    ),
}
FOREIGN = {
    "adaptive uneven": lambda m, x: F.adaptive_avg_pool2d(x, (3, 4)),
    "transposed convolution": lambda m, x: F.conv_transpose2d(x, m.weight.transpose(0, 1)),
    "cumulative sum": lambda m, x: x.cumsum(2),
    "sort": lambda m, x: x.sort(-1)[0],
    "matmul": lambda m, x: x @ x.transpose(-1, -2),
    "split": lambda m, x: torch.split(x, [2, 3], 1)[1],
    "whole batch": lambda m, x: x - x.mean(),
    "norm": lambda m, x: F.normalize(x.flatten(1)),
    "argument of maximum": lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1],
}


def imported(function, shape=MAP):
    torch.manual_seed(0)
    module = Function(function).eval()
    x = torch.randn(1, *shape)
    return import_program(export_network(module, x)), module, x


def assert_equal_to_pytorch(function):
    result, module, x = imported(function)
    for graph in (verify(result.graph), optimise(result.graph)):
        (output,) = run_reference(graph, [x])
        torch.testing.assert_close(output, module(x), rtol=1e-5, atol=1e-5)
    return result.graph


@pytest.mark.parametrize("name", TYPED)
def test_typed_operators(name):
    graph = assert_equal_to_pytorch(TYPED[name])
    assert not [node.operation for node in graph.nodes if isinstance(node.operation, Foreign)]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_operators_keep_their_reason(name):
    graph = assert_equal_to_pytorch(FOREIGN[name])
    reasons = [node.operation.reason for node in graph.nodes if isinstance(node.operation, Foreign)]
    assert reasons
    assert all(reasons)


def test_layers_carry_the_names_of_their_modules():
    network = nn.ModuleDict({"stage": nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), "head": nn.Linear(4, 2)})

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = network

        def forward(self, x):
            return self.parts["head"](self.parts["stage"](x).mean((2, 3)))

    graph = optimise(import_program(export_network(Network(), torch.randn(1, 3, 5, 5))).graph)
    layers = {type(node.operation): node.layer for node in graph.nodes}
    assert layers[Convolution] == "parts.stage.0"
    assert layers[Linear] == "parts.head"


def test_shared_weights_stay_one_tensor():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(torch.relu(self.layer(x)))

    graph = import_program(export_network(Twice(), torch.randn(1, 4))).graph
    names = {node.operation.weight for node in graph.nodes if isinstance(node.operation, Linear)}
    assert len(names) == 1


def test_recurrent_layers_are_foreign_with_their_weights():
    network = nn.GRU(4, 6, batch_first=True)
    x = torch.randn(1, 5, 4)
    result = import_program(export_network(network, x))
    outputs = run_reference(result.graph, [x])
    torch.testing.assert_close(result.structure.build(outputs)[0], network(x)[0])


def test_numbers_of_slices_are_never_negative():
    result, _, _ = imported(lambda m, x: x[:, -3:-1])
    (operation,) = [node.operation for node in result.graph.nodes if isinstance(node.operation, Slice)]
    assert (operation.start, operation.stop) == (2, 4)


@pytest.mark.parametrize("target", ["os.system", "aten.none_such.default", "aten.__class__.default", "aten"])
def test_only_operators_of_aten_run(target):
    with pytest.raises(SpokeshaveError, match="has no operator"):
        run_foreign(Foreign(target, "[[], {}]", ""), {}, {})


@pytest.mark.parametrize("outputs", [1, (1,), [1, (2, 3)], {"a": 1, "b": [2]}, (1, None, {"x": 2})])
def test_structures_survive_json(outputs):
    structure = OutputStructure.from_json(OutputStructure.of(outputs).to_json())
    flat = torch.utils._pytree.tree_leaves(outputs)
    assert structure.build([entry for entry in flat if entry is not None]) == outputs
