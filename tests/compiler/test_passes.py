"""Every pass keeps what the graph computes and changes what it says it changes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import Activate, Activation, Affine, Binary, Convolution, Linear, Reshape
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.passes.fold_batch_norm import fold_batch_norm
from spokeshave.compiler.passes.fuse_activation import fuse_activation
from spokeshave.compiler.passes.fuse_residual import fuse_residual
from spokeshave.compiler.passes.merge_reshapes import merge_reshapes
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.segments import cut
from spokeshave.compiler.verify import GraphError, verify
from spokeshave.export import export_network


class Branches(nn.Module):
    """A block with two branches, both of which could take the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        return F.relu(self.norm(self.a(x)) + self.b(x)).flatten(2).flatten(1)


def graph_of(module: nn.Module, *shape: int) -> tuple[Graph, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(1, *shape)
    return import_program(export_network(module.eval(), x)).graph, x


def apply(run, graph: Graph, x: torch.Tensor) -> Graph:
    after = verify(run(graph))
    for before, result in zip(run_reference(graph, [x]), run_reference(after, [x]), strict=True):
        torch.testing.assert_close(result, before, rtol=1e-5, atol=1e-5)
    return after


def count(graph: Graph, kind: type) -> int:
    return sum(isinstance(node.operation, kind) for node in graph.nodes)


def test_all_passes_on_a_block():
    graph, x = graph_of(Branches(), 3, 5, 5)
    graph = apply(fold_batch_norm, graph, x)
    assert count(graph, Affine) == 0
    graph = apply(fuse_activation, graph, x)
    assert count(graph, Activate) == 0
    graph = apply(fuse_residual, graph, x)
    assert count(graph, Binary) == 0
    (fused,) = [
        node.operation
        for node in graph.nodes
        if node.operation.__class__ is Convolution and node.operation.residual
    ]
    assert fused.activation == Activation("relu")
    graph = apply(eliminate_dead, apply(merge_reshapes, graph, x), x)
    assert count(graph, Reshape) == 1
    assert len(graph.weights) == 4


def test_a_norm_of_a_value_that_others_read_is_not_folded():
    class Shared(Branches):
        def forward(self, x):
            y = self.a(x)
            return self.norm(y) + y

    graph, x = graph_of(Shared(), 3, 5, 5)
    assert count(apply(fold_batch_norm, graph, x), Affine) == 1


def test_a_sum_with_itself_and_a_broadcast_sum_stay():
    for function in (lambda y: y + y, lambda y: y + y.mean((2, 3), keepdim=True)):

        class Sum(Branches):
            def forward(self, x, function=function):
                return function(self.a(x))

        graph, x = graph_of(Sum(), 3, 5, 5)
        assert count(apply(fuse_residual, graph, x), Binary) == 1


def test_a_chain_of_sums_takes_each_branch_once():
    class Chain(Branches):
        def forward(self, x):
            return (self.a(x) + self.b(x)) + x[:, :1].expand(-1, 4, -1, -1) * 1.0

    graph, x = graph_of(Chain(), 3, 5, 5)
    apply(fuse_residual, graph, x)


def two_nodes(**changes) -> Graph:
    """x -> a -> y, with something wrong in it."""
    values = {name: Value(name, (1, 4)) for name in ("x", "a", "y")} | changes.get("values", {})
    nodes = changes.get(
        "nodes",
        (
            Node("first", Linear("w", None), ("x",), ("a",)),
            Node("second", Activate(Activation("relu")), ("a",), ("y",)),
        ),
    )
    return Graph(
        ("x",),
        changes.get("outputs", ("y",)),
        values,
        nodes,
        changes.get("weights", {"w": torch.zeros(4, 4)}),
    )


RELU = Activate(Activation("relu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": (Node("n", RELU, ("nothing",), ("y",)),)}, "used before it is made"),
        ({"nodes": (Node("n", RELU, ("x",), ("x",)),)}, "made twice"),
        ({"nodes": (Node("n", RELU, ("x",), ("z",)),)}, "no declared shape"),
        ({"nodes": (Node("n", Linear("w", None, residual=True), ("x",), ("y",)),)}, "inputs"),
        ({"values": {"y": Value("y", (1, 5))}}, "declared is"),
        ({"weights": {}}, "cannot run"),
        ({"weights": {"w": torch.zeros(4, 3)}}, "cannot run"),
        ({"outputs": ("z",)}, "never made"),
    ],
)
def test_the_verifier_names_what_is_wrong(changes, message):
    verify(two_nodes())
    with pytest.raises(GraphError, match=message):
        verify(two_nodes(**changes))


def test_cutting_makes_few_segments_in_a_runnable_order():
    class Parallel(nn.Module):
        def forward(self, x):
            foreign = [torch.cumsum(torch.relu(x) + i, 1) for i in range(3)]
            compiled = [torch.tanh(x) * i for i in range(3)]
            return torch.sigmoid(sum(foreign) + sum(compiled))

    graph, x = graph_of(Parallel(), 6)
    supports = lambda node, graph: "no" if "cumsum" in str(node.operation) else None  # noqa: E731
    pieces = cut(graph, supports)
    assert [isinstance(piece, Graph) for piece in pieces] == [True, False, False, False, True]
    made = dict(zip(graph.inputs, [x], strict=True))
    for piece in pieces:
        part = (
            piece
            if isinstance(piece, Graph)
            else Graph(piece.inputs, piece.outputs, graph.values, (piece,), graph.weights)
        )
        verify(part)
        made.update(zip(part.outputs, run_reference(part, [made[name] for name in part.inputs]), strict=True))
    torch.testing.assert_close(made[graph.outputs[0]], run_reference(graph, [x])[0])
