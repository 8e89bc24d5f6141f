"""Channels that no layer reads: what goes without them, what keeps them, and that nothing else changes."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import Convolution, Linear
from spokeshave.compiler.passes.leave_out_unread import leave_out_unread
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.verify import verify
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.unstructured import Unstructured


def optimised(module: nn.Module, *shape: int) -> tuple[Graph, torch.Tensor]:
    x = torch.randn(1, *shape)
    return leave_out_unread(optimise(import_program(export_network(module.eval(), x)).graph)), x


def widths(graph: Graph) -> list[tuple[int, int]]:
    """Outputs and inputs of every layer."""
    layers = [node.operation for node in graph.nodes if isinstance(node.operation, Convolution | Linear)]
    return [tuple(graph.weights[layer.weight].shape[:2]) for layer in layers]


def assert_equal(graph: Graph, module: nn.Module, x: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(run_reference(verify(graph), (x,))[0], module(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def reading_only(layer: nn.Module, read: int) -> nn.Module:
    """The layer with weights for its first channels alone."""
    layer.weight[:, read:] = 0
    return layer


def test_layers_pooling_and_depthwise_layers_lose_what_is_not_read():
    depthwise = nn.Conv2d(24, 24, 3, 2, 1, groups=24)
    module = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), depthwise, nn.ReLU6(),
        reading_only(nn.Conv2d(24, 10, 1), 7),
    )  # fmt: skip
    graph, x = optimised(module, 3, 16, 16)
    assert widths(graph) == [(7, 3), (7, 1), (10, 7)]
    assert graph.nodes[-2].operation.groups == 7
    assert_equal(graph, module, x)


def test_what_a_layer_loses_may_be_all_that_read_a_channel():
    first, second, third = nn.Linear(12, 16), nn.Linear(16, 16), reading_only(nn.Linear(16, 5), 4)
    with torch.no_grad():  # inputs 8 to 15 are read by outputs of the second layer that nothing reads
        second.weight[:4, 8:] = 0
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
    graph, x = optimised(module, 6, 12)
    assert widths(graph) == [(8, 12), (4, 8), (5, 4)]
    assert_equal(graph, module, x)


class Branches(nn.Module):
    """`stem` is read by two layers, and as the case says, besides."""

    def __init__(self, besides: str) -> None:
        super().__init__()
        self.besides = besides
        self.stem, self.a, self.b = (
            nn.Conv2d(3, 8, 1), reading_only(nn.Conv2d(8, 8, 1), 2), reading_only(nn.Conv2d(8, 8, 3), 3)
        )  # fmt: skip

    def forward(self, x):
        stem = F.relu(self.stem(x))
        sums = self.a(stem)[:, :, 1:-1, 1:-1] + self.b(stem)
        if self.besides == "residual":
            return sums + stem[:, :, 1:-1, 1:-1]
        return (sums, stem) if self.besides == "output" else sums


@pytest.mark.parametrize(("besides", "left"), [("", 3), ("residual", 8), ("output", 8)])
def test_what_anything_reads_stays(besides, left):
    module = Branches(besides)
    graph, x = optimised(module, 3, 6, 6)
    assert widths(graph)[0] == (left, 3)
    with torch.inference_mode():
        wanted = module(x)
    made = run_reference(graph, (x,))
    for one, other in zip(made, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_weight_that_is_shared_is_cut_for_each_of_its_layers():
    shared = reading_only(nn.Linear(8, 8), 5)
    module = nn.Sequential(nn.Linear(4, 8), shared, shared, nn.Linear(8, 3))
    graph, x = optimised(module, 2, 4)
    assert widths(graph) == [(5, 4), (5, 5), (8, 5), (3, 8)]
    assert_equal(graph, module, x)


def test_a_channel_stays_where_nothing_is_read():
    module = nn.Sequential(nn.Conv2d(3, 8, 1), reading_only(nn.Conv2d(8, 2, 1), 0))
    graph, x = optimised(module, 3, 4, 4)
    assert widths(graph) == [(1, 3), (2, 1)]
    assert_equal(graph, module, x)


def test_rows_that_share_columns_stay_together_where_that_is_less_work():
    first, second = nn.Linear(512, 64), nn.Linear(64, 8)
    with torch.no_grad():
        first.weight *= (torch.rand(8, 512) < 0.1).float().repeat_interleave(8, 0)
        second.weight[:, ::8] = 0  # an output of every eight that share theirs
    graph, _ = optimised(nn.Sequential(first, second), 4, 512)
    assert widths(graph) == [(64, 512), (8, 64)]


def test_a_planned_weight_is_checked_whole():
    module = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), reading_only(nn.Conv2d(24, 10, 1), 7)).eval()
    plan = Plan((Rule("0.weight", Unstructured(0.9)),))
    with pytest.raises(SpokeshaveError, match="does not lie in Unstructured"):
        compile_network(module, (torch.randn(1, 3, 4, 4),), plan)


@settings(max_examples=10, deadline=None)
@given(
    channels=st.lists(st.integers(1, 40), min_size=3, max_size=5),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    precision=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 2**31),
)
def test_compiled_chains_compute_what_pytorch_does(channels, density, precision, seed):
    torch.manual_seed(seed)
    layers = []
    for before, after in pairwise(channels):
        layer = nn.Conv2d(before, after, 3, padding=1)
        layer.weight.data *= torch.rand(1, before, 1, 1) < density
        layers += [layer, nn.ReLU()]
    module, x = nn.Sequential(*layers).eval(), torch.randn(2, channels[0], 9, 11)
    deployment = compile_network(module, (x[:1],), precision=precision)
    with torch.inference_mode():
        wanted = module(x)
    tolerance = 1e-5 if precision == "float32" else 0.05
    assert (deployment(x) - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=0.1)
