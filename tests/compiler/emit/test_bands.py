"""Layers that run band by band: the same numbers as PyTorch, and windows in which nothing is lost."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import ISAS, run_program

from spokeshave.compiler.emit.bands import band_run, find_runs
from spokeshave.compiler.emit.depthwise import is_depthwise
from spokeshave.compiler.emit.layouts import choose_layouts
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set, level_two_cache_bytes
from spokeshave.compiler.layout import FLOAT_BYTES
from spokeshave.compiler.operations import Activation, Convolution, Pool
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.schedule import forms
from spokeshave.schemes.block_column_row import BlockColumnRow

RELATIVE_TOLERANCE = 1e-5
RELU = Activation("relu")


def chain(size, layers, pool=False, residual=False, seed=0):
    """A graph of convolutions one behind the other: (channels, kernel, padding, dilation, groups, share kept) each."""
    torch.manual_seed(seed)
    nodes, weights, shape = [], {}, (1, 5, *size)
    values = {"v0": Value("v0", shape)}
    for index, (channels, kernel, padding, dilation, groups, kept) in enumerate(layers):
        weight = torch.randn(channels, shape[1] // groups, *kernel)
        weights[f"w{index}"] = weight * (torch.rand_like(weight) < kept)
        weights[f"b{index}"] = torch.randn(channels)
        shape = tuple(F.conv2d(torch.zeros(shape), weight, None, 1, padding, dilation, groups).shape)
        adds = residual and index == len(layers) - 1
        operation = Convolution(
            f"w{index}", f"b{index}", (1, 1), (*padding, *padding), dilation, groups, adds, RELU
        )
        names = (f"v{index}", "r") if adds else (f"v{index}",)
        values[f"v{index + 1}"] = Value(f"v{index + 1}", shape)
        nodes.append(Node(f"layer{index}", operation, names, (f"v{index + 1}",)))
    inputs = ("v0", "r") if residual else ("v0",)
    if residual:
        values["r"] = Value("r", shape)
    if pool:
        values["pooled"] = Value("pooled", (*shape[:2], shape[2] // 2, shape[3] // 2))
        nodes.append(Node("pool", Pool("max", (2, 2), (2, 2)), (f"v{len(layers)}",), ("pooled",)))
    return Graph(inputs, (nodes[-1].output,), values, tuple(nodes), weights)


def in_bands(graph, isa, rows):
    return band_run(graph, graph.nodes, choose_layouts(graph, isa), isa, rows)


def assume_bands(graph):
    """Depthwise layers run as a whole."""
    assume(not any(is_depthwise(graph, node) for node in graph.nodes[:-1]))


def check(graph, isa, program):
    inputs = [torch.randn(graph.shape(name)) for name in graph.inputs]
    (expected,) = run_reference(graph, inputs)
    (result,) = run_program(program, graph, inputs, isa)
    assert (result - expected).abs().max() <= RELATIVE_TOLERANCE * expected.abs().max()


@st.composite
def graphs(draw):
    size = draw(st.tuples(st.integers(20, 29), st.integers(28, 41)))
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, dilation = (
            draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (3, 1), (2, 3)])),
            draw(st.integers(1, 2)),
        )
        padding = tuple(draw(st.sampled_from([0, (k - 1) * dilation // 2, k - 1])) for k in kernel)
        kept = draw(st.sampled_from([1.0, 0.3]))
        layers.append(
            (
                draw(st.sampled_from([10, 15])),
                kernel,
                padding,
                (dilation, dilation),
                draw(st.sampled_from([1, 5])),
                kept,
            )
        )
    pool = draw(st.booleans()) or len(layers) == 1
    return chain(size, layers, pool, residual=not pool and draw(st.booleans()), seed=draw(st.integers(0, 9)))


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graph=graphs(), rows=st.sampled_from([2, 4, 6]))
def test_bands_give_what_pytorch_gives(isa, graph, rows):
    isa = instruction_set(isa)
    assume_bands(graph)
    check(graph, isa, lower(graph, isa, {}, runs=[in_bands(graph, isa, rows)]))


@settings(max_examples=20, deadline=None)
@given(graph=graphs(), rows=st.sampled_from([2, 4, 6]), name=st.sampled_from(["avx512", "portable"]))
def test_no_lane_is_overwritten_before_its_last_reader(graph, rows, name):
    """Every lane of two planes that slide, by brute force: the last one written at an address is the one wanted."""
    isa = instruction_set(name)
    assume_bands(graph)
    run = in_bands(graph, isa, rows)
    for before, after in pairwise(run.stages):
        planes = run.planes[before.node.output]
        whole = {}
        made = seen = cleared = 0
        zeros = run.zeros[before.node.output]
        unit = 2 * planes.pitch if isinstance(after.node.operation, Pool) else isa.lanes
        for done, read, behind in zip(before.done, after.done, zeros.behind, strict=True):
            fresh = [*range(-zeros.before if made == 0 else made * isa.lanes, done * isa.lanes)]
            fresh += range(planes.lanes + cleared, planes.lanes + behind)
            for plane in range(2):
                whole |= {plane * planes.plane + lane: (plane, lane) for lane in fresh}
            wanted = range(seen * unit - after.reads.before, read * unit + after.reads.behind)
            for plane in range(2):
                assert all(
                    whole[plane * planes.plane + lane] == (plane, lane) for lane in wanted if read > seen
                )
            made, seen, cleared = done, read, behind
        assert made * isa.lanes == planes.lanes


@pytest.mark.parametrize("by", ["subsets", "blocks"])
def test_every_way_to_run_a_product(by):
    isa = instruction_set(ISAS[0])
    graph = chain(
        (20, 33), [(16, (3, 3), (1, 1), (1, 1), 1, 1.0), (16, (3, 3), (1, 1), (1, 1), 1, 1.0)], pool=True
    )
    scheme = BlockColumnRow(0.7, block=(8, 12), row_sparsity=0.3)
    weights = {
        name: scheme.project(weight) if weight.dim() == 4 and by == "blocks" else weight
        for name, weight in graph.weights.items()
    }
    graph = Graph(graph.inputs, graph.outputs, graph.values, graph.nodes, weights)
    packed = {name: scheme.pack(weights[name]) for name in ("w0", "w1")} if by == "blocks" else {}

    def choose(product):
        wanted = [form for form in forms(product, isa) if form.by_subsets == (by == "subsets")]
        return next(form for form in wanted if form.by_blocks == (by == "blocks"))

    program = lower(graph, isa, packed, choose, [in_bands(graph, isa, 4)])
    assert by != "blocks" or any(
        call.function == "fill_rows" for step in program.steps for call in step.calls
    )
    check(graph, isa, program)


def large_map():
    """Channels and sides of a map above the level-2 cache of this machine."""
    sides = 2 * int((1.2 * level_two_cache_bytes(instruction_set(None)) / (8 * FLOAT_BYTES)) ** 0.5 / 2)
    return 8, sides


def test_layers_over_large_maps_run_in_bands():
    channels, side = large_map()
    isa = instruction_set(None)
    graph = chain((side, side), [(channels, (3, 3), (1, 1), (1, 1), 1, 0.3)] * 2, pool=True)
    (run,) = find_runs(graph, choose_layouts(graph, isa), isa)
    assert [stage.node for stage in run.stages] == list(graph.nodes)
    assert all(planes.slides for planes in run.planes.values())
    program = lower(graph, isa, {})
    assert len({step.run for step in program.steps if step.operation in ("Convolution", "Pool")}) == 1
    sizes = [int(buffer.layout.floats) for buffer in program.buffers.values()]
    assert sum(sizes) < 3 * channels * side * side / 2  # neither map lies in memory as a whole
    check(graph, isa, program)
