"""Every pass keeps what the graph computes and changes what it says it changes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    Affine,
    Binary,
    Constant,
    Convolution,
    Linear,
    Patches,
    Reshape,
    Where,
)
from spokeshave.compiler.passes.absorb_padding import absorb_padding
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.passes.embed_patches import add_to_patches, cut_patches, merge_constants
from spokeshave.compiler.passes.fold_batch_norm import fold_batch_norm
from spokeshave.compiler.passes.fuse_activation import fuse_activation
from spokeshave.compiler.passes.fuse_residual import fuse_residual
from spokeshave.compiler.passes.merge_reshapes import merge_reshapes
from spokeshave.compiler.passes.pipeline import PASSES, optimise_recorded
from spokeshave.compiler.passes.pool_whole_maps import pool_whole_maps
from spokeshave.compiler.passes.recognise_activations import recognise_activations
from spokeshave.compiler.passes.recognise_signs import SIGN, recognise_signs
from spokeshave.compiler.passes.simplify_permutes import simplify_permutes
from spokeshave.compiler.passes.sink_reshapes import sink_reshapes
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.verify import verify
from spokeshave.export import export_network
from spokeshave.networks.binary import Sign


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


class SpelledOut(nn.Module):
    """GPT-2's activation as arithmetic, a swish, and what is nearly one."""

    def forward(self, x):
        gelu = 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + 0.044715 * torch.pow(x, 3.0))))
        shifted = x + 1.5
        return gelu, shifted * torch.sigmoid(shifted), x * torch.sigmoid(1.702 * x)


def test_activations_are_recognised_by_what_they_compute():
    graph, x = graph_of(SpelledOut(), 5, 7)
    after = apply(eliminate_dead, apply(recognise_activations, graph, x), x)
    made = {node.output: node for node in after.nodes}
    first, second, third = (made[name].operation for name in after.outputs)
    assert (first, second) == (Activate(Activation("gelu_tanh")), Activate(Activation("silu")))
    assert isinstance(third, Binary)
    assert made[after.outputs[0]].inputs == after.inputs
    assert len(after.nodes) == 6


class Signs(nn.Module):
    """A sign, the same with a bound of its own, and a choice that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.sign, self.bound = Sign(), Sign(0.5)

    def forward(self, x):
        return self.sign(x), self.bound(x), torch.where(x >= 0, 1.0, 0.0)


def test_signs_are_recognised():
    graph, x = graph_of(Signs(), 5, 7)
    x[0, 0, 0] = 0
    after = apply(eliminate_dead, apply(recognise_signs, graph, x), x)
    made = {node.output: node for node in after.nodes}
    sign, bound, other = (made[name] for name in after.outputs)
    assert sign.operation == bound.operation == Activate(SIGN)
    assert sign.inputs == after.inputs
    assert made[bound.inputs[0]].operation.kind == "subtract"
    assert isinstance(other.operation, Where)


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


class Chain(nn.Sequential):
    """Layers one after another, with what a test wants to happen to the result."""

    def __init__(self, *layers: nn.Module, after=lambda y: y) -> None:
        super().__init__(*layers)
        self.after = after

    def forward(self, x):
        return self.after(super().forward(x))


def kinds(graph: Graph) -> list[str]:
    return [type(node.operation).__name__ for node in graph.nodes]


def test_two_norms_in_a_row_are_both_folded():
    norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(4)]
    for norm in norms:
        norm.running_var.uniform_(0.5, 2)
    graph, x = graph_of(Chain(nn.Conv2d(3, 4, 3), *norms), 3, 5, 5)
    assert kinds(apply(fold_batch_norm, graph, x)) == ["Convolution"]


def test_folding_into_a_linear_layer_and_zeros_stay_zeros():
    layer, norm = nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4)
    layer.weight.data[:, 2:] = 0
    norm.running_mean.uniform_(-1, 1)
    graph, x = graph_of(Chain(layer, norm), 6)
    graph = apply(fold_batch_norm, graph, x)
    assert kinds(graph) == ["Linear"]
    assert not graph.weights[graph.nodes[0].operation.weight][:, 2:].any()


def test_a_norm_before_a_layer_and_a_norm_of_an_activated_layer_stay():
    graph, x = graph_of(Chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 3, 5, 5)
    graph = apply(fold_batch_norm, apply(fuse_activation, graph, x), x)
    assert kinds(graph) == ["Affine", "Convolution", "Affine"]


@pytest.mark.parametrize("after", [lambda y: (y, F.relu(y)), lambda y: F.relu(y) + y])
def test_an_activation_of_a_value_that_others_read_stays(after):
    graph, x = graph_of(Chain(nn.Conv2d(3, 4, 3), after=after), 3, 5, 5)
    assert count(apply(fuse_activation, graph, x), Activate) == 1


def test_activations_move_into_arithmetic_and_norms():
    graph, x = graph_of(Chain(nn.BatchNorm2d(3), nn.ReLU(), after=lambda y: torch.sigmoid(y * 2)), 3, 5, 5)
    assert kinds(apply(fuse_activation, graph, x)) == ["Affine", "Binary"]


def test_the_residual_operand_is_made_before_it_is_added():
    class Late(Branches):
        def forward(self, x):
            y = self.a(x)
            return y + torch.tanh(x[:, :1]).expand(-1, 4, -1, -1)

    graph, x = graph_of(Late(), 3, 5, 5)
    graph = apply(fuse_residual, graph, x)
    assert kinds(graph)[-1] == "Convolution"
    assert count(graph, Binary) == 0


def test_subtraction_is_no_residual_sum():
    graph, x = graph_of(Chain(nn.Conv2d(3, 3, 1), after=lambda y: y - 2.0), 3, 5, 5)
    assert count(apply(fuse_residual, graph, x), Binary) == 1


def test_reshapes_merge_and_vanish_for_foreign_readers_and_outputs_too():
    def after(y):
        merged = y.flatten(1).unflatten(1, (2, -1)).flatten(1)
        return merged.cumsum(1), merged.reshape(1, 4, 3, 3)

    graph, x = graph_of(Chain(nn.Conv2d(3, 4, 3), after=after), 3, 5, 5)
    graph = apply(eliminate_dead, apply(merge_reshapes, graph, x), x)
    assert kinds(graph) == ["Convolution", "Reshape", "Foreign"]
    assert graph.outputs[1] == graph.nodes[0].output


def test_equal_reshapes_of_one_value_are_made_once():
    graph, x = graph_of(Chain(after=lambda y: y.flatten(1).sigmoid() * y.flatten(1).tanh()), 3, 5, 5)
    assert count(apply(merge_reshapes, graph, x), Reshape) == 1


def test_permutations_of_short_axes_are_reshapes():
    after = lambda y: (y.mean(3, keepdim=True).permute(0, 3, 1, 2), y.permute(0, 3, 1, 2))  # noqa: E731
    graph, x = graph_of(Chain(after=after), 3, 5, 5)
    assert kinds(apply(simplify_permutes, graph, x)) == ["Reshape", "Mean", "Reshape", "Reshape", "Permute"]


def test_elementwise_operations_move_before_reshapes():
    scale = torch.randn(5)
    after = lambda y: F.relu(y.unflatten(2, (5, 1)) * 2 + y.tanh().unflatten(2, (5, 1))).squeeze(3) * scale  # noqa: E731
    graph, x = graph_of(Chain(nn.Linear(6, 5), after=after), 4, 6)
    graph = apply(eliminate_dead, apply(merge_reshapes, apply(sink_reshapes, graph, x), x), x)
    assert "Reshape" not in kinds(graph)


def test_broadcasts_stay_after_their_reshape():
    constant = torch.randn(4, 1, 1)
    after = lambda y: y.unflatten(1, (4, 3, 2)) * constant  # noqa: E731
    graph, x = graph_of(Chain(nn.Linear(6, 24), after=after), 6)
    assert kinds(apply(sink_reshapes, graph, x)) == ["Linear", "Reshape", "Binary"]


@pytest.mark.parametrize(
    ("pool", "kind"),
    [
        (nn.AvgPool2d(5), "Mean"),
        (nn.AvgPool2d(4), "Pool"),
        (nn.AvgPool2d(5, padding=1), "Pool"),
        (nn.MaxPool2d(5), "Pool"),
    ],
)
def test_an_average_over_the_whole_map_is_a_mean(pool, kind):
    graph, x = graph_of(Chain(pool), 3, 5, 5)
    assert kinds(apply(pool_whole_maps, graph, x)) == [kind]


def test_a_mean_of_single_elements_is_a_reshape():
    graph, x = graph_of(
        Chain(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), after=lambda y: y.mean((2, 3))), 3, 5, 5
    )
    graph = apply(pool_whole_maps, graph, x)
    assert kinds(graph) == ["Convolution", "Reshape", "Reshape"]


@pytest.mark.parametrize(
    ("widths", "value", "expected"),
    [
        ((1, 2, 0, 1), 0.0, ["Convolution"]),
        ((1, 1), 0.5, ["Pad", "Convolution"]),
        ((0, 0, 0, 0, 1, 0), 0.0, ["Pad", "Convolution"]),
    ],
)
def test_zero_padding_moves_into_the_convolution(widths, value, expected):
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4 if len(widths) == 6 else 3, 4, 3, 2, 1)

        def forward(self, x):
            return self.conv(F.pad(x, widths, value=value))

    graph, x = graph_of(Padded(), 3, 5, 5)
    assert kinds(apply(absorb_padding, graph, x)) == expected


def test_what_no_output_needs_is_dropped():
    values = {name: Value(name, (1, 4)) for name in ("x", "unused input", "a", "y")}
    relu = Activate(Activation("relu"))
    nodes = (Node("dead", Linear("w", None), ("x",), ("a",)), Node("alive", relu, ("x",), ("y",)))
    graph = Graph(("x", "unused input"), ("y",), values, nodes, {"w": torch.zeros(4, 4)})
    graph = eliminate_dead(verify(graph))
    assert [node.layer for node in graph.nodes] == ["alive"]
    assert set(graph.values) == {"x", "unused input", "y"}
    assert not graph.weights


def test_the_record_says_what_each_pass_changed():
    graph, _ = graph_of(Branches(), 3, 5, 5)
    optimised, changes = optimise_recorded(graph)
    assert [change.name for change in changes] == [run.__name__ for run in PASSES]
    by_name = {change.name: change.operations for change in changes if change.operations}
    assert by_name["fold_batch_norm"] == (("Affine", 1, 0),)
    assert by_name["fuse_residual"] == (("Binary", 1, 0),)
    assert len(optimised.nodes) == 3


def test_operators_of_several_outputs_that_read_a_reshape_stay():
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.GRU(12, 5, batch_first=True)

        def forward(self, x):
            return self.memory(x.flatten(2))[0]

    graph, x = graph_of(Reader(), 6, 3, 4)
    assert "Recurrent" in kinds(apply(sink_reshapes, graph, x))


class PatchEmbedding(nn.Module):
    """Of a vision transformer, with a class token or without."""

    def __init__(self, tokens: int, stride: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 4, stride)
        self.first = nn.Parameter(torch.randn(1, tokens, 5))
        self.positions = nn.Parameter(torch.randn(1, 6 + tokens, 5)) if stride == 4 else None

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.first.numel():
            tokens = torch.cat([self.first, tokens], 1)
        return tokens if self.positions is None else tokens + self.positions


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_an_embedding_of_patches_is_one_layer_that_adds_a_constant(tokens):
    graph, x = graph_of(PatchEmbedding(tokens), 3, 8, 12)
    for run in (cut_patches, merge_constants, eliminate_dead, add_to_patches, eliminate_dead):
        graph = apply(run, graph, x)
    patches, constant, layer = (node.operation for node in graph.nodes)
    assert patches == Patches(4, 4, tokens)
    assert isinstance(constant, Constant)
    assert (layer.residual, layer.bias) == (True, None)


def test_patches_that_overlap_stay_a_convolution():
    graph, x = graph_of(PatchEmbedding(1, stride=2), 3, 8, 12)
    assert count(apply(cut_patches, graph, x), Patches) == 0


def test_constants_are_merged_in_their_order():
    def forward(x):
        return (torch.tensor([1.0, 2.0, 3.0]) + x + 0.5).relu() + torch.tensor([[0.5], [1.5]])

    module = nn.Module()
    module.forward = forward
    graph, x = graph_of(module, 2, 3)
    assert count(apply(merge_constants, graph, x), Binary) == 2
