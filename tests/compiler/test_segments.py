"""Cutting a graph into compiled segments and nodes that PyTorch runs."""

import torch
from torch import nn

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.segments import cut
from spokeshave.compiler.verify import verify
from spokeshave.export import export_network


class Parallel(nn.Module):
    """Three branches that are compiled beside three that are not."""

    def forward(self, x):
        foreign = [torch.cumsum(torch.relu(x) + i, 1) for i in range(3)]
        compiled = [torch.tanh(x) * i for i in range(3)]
        return torch.sigmoid(sum(foreign) + sum(compiled))


class Late(nn.Module):
    """Starting with PyTorch needs one segment, starting with compiled code two."""

    def forward(self, x):
        return torch.sigmoid(torch.cumsum(x, 1)) + torch.relu(x)


def supports(node, graph):
    return "no" if "cumsum" in str(node.operation) else None


def pieces_of(network: nn.Module) -> list[bool]:
    """Which pieces are compiled, after they have been run one after another and compared."""
    x = torch.randn(1, 6)
    graph = import_program(export_network(network, x)).graph
    pieces = cut(graph, supports)
    made = dict(zip(graph.inputs, [x], strict=True))
    for piece in pieces:
        if not isinstance(piece, Graph):
            piece = Graph(piece.inputs, piece.outputs, graph.values, (piece,), graph.weights)
        inputs = [made[name] for name in piece.inputs]
        made.update(zip(piece.outputs, run_reference(verify(piece), inputs), strict=True))
    torch.testing.assert_close(made[graph.outputs[0]], run_reference(graph, [x])[0])
    return [isinstance(piece, Graph) for piece in pieces]


def test_few_segments_in_a_runnable_order():
    assert pieces_of(Parallel()) == [True, False, False, False, True]


def test_the_better_of_both_beginnings_is_taken():
    assert pieces_of(Late()) == [False, True]


def test_a_segment_gives_only_what_is_needed_later():
    graph = import_program(export_network(Parallel(), torch.randn(1, 6))).graph
    first, *_, last = cut(graph, supports)
    assert len(first.outputs) == 4  # the three inputs of the sums, and the sum of the compiled branches
    assert last.outputs == graph.outputs


def test_a_graph_without_nodes_has_no_pieces():
    class Nothing(nn.Module):
        def forward(self, x):
            return x

    graph = import_program(export_network(Nothing(), torch.randn(1, 6))).graph
    assert cut(graph, supports) == ()
