"""The generated C under sanitizers (addresses, undefined behaviour, threads), on memory of exact sizes."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.compiler.emit.test_bands import chain
from tests.compiler.emulated_amx import emulated_amx
from tests.compiler.own_process import SAMPLES, run_in_own_process

from spokeshave.compiler.emit.bands import band_run
from spokeshave.compiler.emit.layouts import choose_layouts
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import InstructionSet, instruction_set, runs_here
from spokeshave.compiler.kernels.instances import SubsetKernel, WinogradKernel
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    Attention,
    Concatenate,
    Convolution,
    GroupNorm,
    Linear,
    Mean,
    Pad,
    Pool,
    Quantization,
    Recurrent,
    Reshape,
    Slice,
    Softmax,
)
from spokeshave.compiler.quantization.bfloat16 import to_bfloat16
from spokeshave.compiler.quantization.integers import to_integers
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.schedule import Product, Schedule, forms, schedule_for

# The recurrent layers at the end amplify rounding: there PyTorch itself is 1e-5 away from its own in double precision.
TOLERANCES = (1e-5, 1e-5, 5e-5, 1e-5, 1e-5)
SANITIZERS = {
    "memory": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "threads": ("-fsanitize=thread", "-fno-sanitize-recover=all"),
}


def network() -> tuple[Graph, dict]:
    """Odd sizes everywhere: strides, groups, residual, concat, slice, pad, pooling, normalisation, one vector."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    weights = {
        "w1": random(13, 3, 3, 3),
        "b1": random(13),
        "w2": random(20, 13, 3, 3) * (random(20, 13, 3, 3) > 1),
        "w3": random(20, 13, 1, 1),
        "w4": random(20, 1, 5, 5),
        "g": random(20),
        "fc": random(10, 66),
        "fb": random(10),
        "gi": random(39, 22),
        "gh": random(39, 13),
        "gb": random(39),
        "li": random(20, 13),
        "lh": random(20, 5),
        "w5": random(12, 13, 2, 3),
        "w6": random(12, 12, 3, 3) * (random(1, 12, 1, 1) > 0),
        "w7": random(18, 12, 3, 3),
    }
    shapes = {
        "x": (3, 17, 15), "a": (13, 17, 15), "m": (13, 8, 7), "r": (20, 4, 4), "b": (20, 4, 4), "c": (20, 4, 4),
        "n": (20, 4, 4), "s": (20, 4, 2), "p": (26, 4, 4), "v": (20, 4, 4), "k": (66, 4, 4), "u": (66, 4, 4),
        "d": (66,), "e": (10,), "f": (10,), "o": (48, 22), "h": (48, 13), "h1": (13,), "l": (48, 5), "l1": (5,),
        "l2": (5,), "t": (12, 7, 7), "q": (12, 7, 7), "w": (18, 7, 7), "z": (18, 3, 3),
    }  # fmt: skip
    nodes = [
        ("c1", Convolution("w1", "b1", padding=(1, 1, 1, 1), activation=Activation("relu")), "x", "a"),
        ("pool", Pool("max", (3, 3), (2, 2)), "a", "m"),
        ("c5", Convolution("w5", None, padding=(0, 1, 0, 1)), "m", "t"),
        ("c6", Convolution("w6", None, padding=(1, 1, 1, 1), residual=True), "t t", "q"),
        ("c7", Convolution("w7", None, padding=(1, 1, 1, 1), activation=Activation("relu")), "t", "w"),
        ("pairs", Pool("max", (2, 2), (2, 2)), "w", "z"),
        ("c3", Convolution("w3", None, stride=(2, 2)), "m", "r"),
        (
            "c2",
            Convolution("w2", None, (2, 2), (1, 1, 1, 1), residual=True, activation=Activation("gelu")),
            "m r",
            "b",
        ),
        ("c4", Convolution("w4", None, padding=(2, 2, 2, 2), groups=20), "b", "c"),
        ("norm", GroupNorm(4, "g", "g", 1e-5), "c", "n"),
        ("slice", Slice(3, 0, 4, 2), "n", "s"),
        ("pad", Pad((0, 3, 0, 1), (0, 3, 0, 1), 0.5), "s", "p"),
        ("average", Pool("average", (3, 3), (1, 1), (1, 1, 1, 1), count_padding=False), "n", "v"),
        ("join", Concatenate(1), "n p v", "k"),
        ("swish", Activate(Activation("silu")), "k", "u"),
        ("mean", Mean((2, 3), False), "u", "d"),
        ("head", Linear("fc", "fb", activation=Activation("tanh")), "d", "e"),
        ("softmax", Softmax(1), "e", "f"),
        ("rows", Reshape(), "k", "o"),
        ("gru", Recurrent("gru", "gi", "gh", "gb", "gb", reverse=True), "o", "h h1"),
        ("lstm", Recurrent("lstm", "li", "lh", None, None), "h", "l l1 l2"),
    ]
    values = {name: Value(name, (1, *shape)) for name, shape in shapes.items()}
    steps = tuple(
        Node(layer, operation, tuple(read.split()), tuple(made.split()))
        for layer, operation, read, made in nodes
    )
    return Graph(("x",), ("f", "u", "l", "q", "z"), values, steps, weights), weights


def expected(x: torch.Tensor, w: dict) -> tuple[torch.Tensor, ...]:
    m = F.max_pool2d(F.relu(F.conv2d(x, w["w1"], w["b1"], padding=1)), 3, 2)
    t = F.conv2d(m, w["w5"], padding=(0, 1))
    q = F.conv2d(t, w["w6"], padding=1) + t
    z = F.max_pool2d(F.relu(F.conv2d(t, w["w7"], padding=1)), 2)
    b = F.gelu(F.conv2d(m, w["w2"], stride=2, padding=1) + F.conv2d(m, w["w3"], stride=2))
    n = F.group_norm(F.conv2d(b, w["w4"], padding=2, groups=20), 4, w["g"], w["g"])
    p = F.pad(n[:, :, :, ::2], (1, 1, 0, 0, 3, 3), value=0.5)
    v = F.avg_pool2d(n, 3, 1, 1, count_include_pad=False)
    k = torch.cat([n, p, v], 1)
    u = F.silu(k)
    state = torch.zeros(1, len(x), 13)
    gates = [w[name] for name in ("gi", "gh", "gb", "gb")]
    backwards = k.reshape(-1, 48, 22).flip(1)
    h = torch.gru(backwards, state, gates, True, 1, 0.0, False, False, True)[0].flip(1)
    state = torch.zeros(1, len(x), 5)
    y = torch.lstm(h, [state, state], [w["li"], w["lh"]], False, 1, 0.0, False, False, True)[0]
    return torch.softmax(torch.tanh(F.linear(u.mean((2, 3)), w["fc"], w["fb"])), 1), u, y, q, z


def every_way(product: Product, isa: InstructionSet) -> Schedule:
    """These layers are too small for Winograd's algorithm, and subsets, to be chosen by themselves."""
    if product.tiles:
        return next(form for form in forms(product, isa) if form.winograd)
    if product.kept.all():
        return schedule_for(product, isa)
    return next(form for form in forms(product, isa) if form.by_subsets and form.reordered)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_no_step_outside_and_no_race(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa = isa_here(name)
    graph, weights = network()
    program = lower(graph, isa, {}, partial(every_way, isa=isa))
    assert {SubsetKernel, WinogradKernel} <= {type(kernel) for kernel in program.kernels}
    x = torch.randn(SAMPLES, 3, 17, 15)
    results = run_in_own_process(graph, program, x, isa, SANITIZERS[sanitizer], tmp_path)
    for result, reference, tolerance in zip(results, expected(x, weights), TOLERANCES, strict=True):
        assert (result - reference).abs().max() <= tolerance * reference.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512_bf16", "avx2_vnni", "portable", "emulated_amx"])
def test_the_same_of_integers(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa, graph = isa_here(name), integer_network()
    x = torch.randn(SAMPLES, 3, 17, 15)
    results = run_in_own_process(graph, lower(graph, isa, {}), x, isa, SANITIZERS[sanitizer], tmp_path)
    assert all(map(torch.equal, results, run_reference(graph, [x])))


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512_bf16", "avx2", "portable", "emulated_amx"])
def test_the_same_in_bfloat16(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa = isa_here(name)
    (graph,), _ = to_bfloat16((odd_convolutions(),), isa)
    x = torch.randn(SAMPLES, 3, 17, 15)
    results = run_in_own_process(graph, lower(graph, isa, {}), x, isa, SANITIZERS[sanitizer], tmp_path)
    for result, reference in zip(results, run_reference(graph, [x]), strict=True):
        assert (result - reference).abs().max() <= 0.01 * reference.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512_bf16", "avx2", "portable"])
def test_the_same_of_attention(name: str, sanitizer: str, tmp_path: Path) -> None:
    """Odd sizes, in both precisions; more keys than are scored at a time."""
    isa = isa_here(name)
    operations = [Attention(2, 2, 0.3, half=half, causal=half) for half in (False, True)]
    nodes = tuple(Node(made, op, ("x",) * 3, (made,)) for made, op in zip("yz", operations, strict=True))
    graph = Graph(("x",), ("y", "z"), {name: Value(name, (1, 301, 14)) for name in "xyz"}, nodes, {})
    x = torch.randn(SAMPLES, 301, 14)
    results = run_in_own_process(graph, lower(graph, isa, {}), x, isa, SANITIZERS[sanitizer], tmp_path)
    for result, reference, tolerance in zip(results, run_reference(graph, [x]), (1e-5, 1e-3), strict=True):
        assert (result - reference).abs().max() <= tolerance * reference.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_the_same_of_scattered_weights(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa, graph = isa_here(name), scattered_network()
    program, x = lower(graph, isa, {}), torch.randn(SAMPLES, 141)
    assert all("segment" in kernel.name for kernel in program.kernels) or isa.lanes == 4
    results = run_in_own_process(graph, program, x, isa, SANITIZERS[sanitizer], tmp_path)
    for result, reference in zip(results, run_reference(graph, [x]), strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512_bf16", "avx2", "portable"])
def test_the_same_of_scattered_weights_in_integers(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa, graph = isa_here(name), scattered_network()
    ranges = {value: Quantization(4 / 127, 128) for value in graph.values}
    graph = to_integers(graph, frozenset("yh"), ranges)
    program, x = lower(graph, isa, {}), torch.randn(SAMPLES, 141)
    assert any("segment" in kernel.name for kernel in program.kernels) or isa.lanes == 4
    results = run_in_own_process(graph, program, x, isa, SANITIZERS[sanitizer], tmp_path)
    assert all(map(torch.equal, results, run_reference(graph, [x])))


def scattered_network() -> Graph:
    """Weights picked from segments: rows in an order of their own, a last segment that begins anywhere."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    sparse = lambda *shape: random(*shape) * (torch.rand(shape, generator=generator) < 0.06)  # noqa: E731
    weights = {"w": sparse(45, 141), "gi": sparse(123, 45), "gh": sparse(123, 41)}
    nodes = (
        Node("head", Linear("w", None, activation=Activation("relu")), ("x",), ("y",)),
        Node("rows", Reshape(), ("y",), ("r",)),
        Node("gru", Recurrent("gru", "gi", "gh", None, None), ("r",), ("h", "h1")),
    )
    shapes = {"x": (141,), "y": (45,), "r": (1, 45), "h": (1, 41), "h1": (41,)}
    values = {name: Value(name, (1, *shape)) for name, shape in shapes.items()}
    return Graph(("x",), ("y", "h"), values, nodes, weights)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_the_same_in_bands(name: str, sanitizer: str, tmp_path: Path) -> None:
    """Planes that slide, through layers that reach beyond their input on all sides."""
    isa = isa_here(name)
    layers = [(10, (3, 3), (1, 1), (1, 1), 1, 0.3), (13, (3, 3), (2, 2), (2, 2), 1, 1.0)]
    graph = chain((21, 39), layers, pool=True)
    run = band_run(graph, graph.nodes, choose_layouts(graph, isa), isa, 2)
    x = torch.randn(SAMPLES, 5, 21, 39)
    program = lower(graph, isa, {}, runs=[run])
    (result,) = run_in_own_process(graph, program, x, isa, SANITIZERS[sanitizer], tmp_path)
    (reference,) = run_reference(graph, [x])
    assert (result - reference).abs().max() <= 1e-5 * reference.abs().max()


def isa_here(name: str) -> InstructionSet:
    """The instruction set; the test is skipped where this CPU does not run it."""
    if name == "emulated_amx":
        return emulated_amx()
    if not runs_here(instruction_set(name)):
        pytest.skip(f"this CPU does not run {name}")
    return instruction_set(name)


def odd_convolutions() -> Graph:
    """Odd sizes, strides, groups, both kinds of residual."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator) * 0.2  # noqa: E731
    weights = {
        "w1": random(13, 3, 3, 3),
        "b1": random(13),
        "w2": random(13, 13, 3, 3),
        "w3": random(10, 13, 1, 1),
    }
    weights |= {"w4": random(10, 1, 5, 5), "w5": random(22, 10, 2, 3) * (random(22, 10, 2, 3) > 0.2)}
    shapes = {
        "x": (3, 17, 15),
        "a": (13, 9, 8),
        "b": (13, 9, 8),
        "c": (10, 9, 8),
        "d": (10, 9, 8),
        "e": (22, 5, 3),
    }
    relu, around = Activation("relu"), (1, 1, 1, 1)
    nodes = [
        ("c1", Convolution("w1", "b1", (2, 2), around), "x", "a"),
        ("c2", Convolution("w2", None, padding=around, residual=True, activation=relu), "a a", "b"),
        ("c3", Convolution("w3", None), "b", "c"),
        ("c4", Convolution("w4", None, padding=(2, 2, 2, 2), groups=10, residual=True), "c c", "d"),
        ("c5", Convolution("w5", None, (2, 3), (1, 0, 1, 2)), "d", "e"),
    ]
    values = {name: Value(name, (1, *shape)) for name, shape in shapes.items()}
    made = tuple(Node(layer, operation, tuple(read.split()), (out,)) for layer, operation, read, out in nodes)
    return Graph(("x",), ("e", "b"), values, made, weights)


def integer_network() -> Graph:
    """The same in integers, with zero points other than 0 around padded convolutions, and recurrent layers behind."""
    graph = with_recurrent_layers(odd_convolutions())
    ranges = {name: Quantization(0.03, 120 if name != "b" else 0) for name in graph.values}
    return to_integers(graph, frozenset("abcdehlp"), ranges)


def with_recurrent_layers(graph: Graph) -> Graph:
    """A GRU and an LSTM on the last map, whose rows are steps."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator) * 0.2  # noqa: E731
    weights = {"gi": random(39, 11), "gh": random(39, 13) * (random(39, 13) > 0)}
    weights |= {"li": random(20, 13), "lh": random(20, 5), "fc": random(37, 5)}
    shapes = {"o": (30, 11), "h": (30, 13), "h1": (13,), "l": (30, 5), "l1": (5,), "l2": (5,)}
    shapes |= {"p": (30, 37)}
    nodes = (
        Node("rows", Reshape(), ("e",), ("o",)),
        Node("gru", Recurrent("gru", "gi", "gh", None, None, reverse=True), ("o",), ("h", "h1")),
        Node("lstm", Recurrent("lstm", "li", "lh", None, None), ("h",), ("l", "l1", "l2")),
        Node("head", Linear("fc", None), ("l",), ("p",)),
    )
    values = dict(graph.values) | {name: Value(name, (1, *shape)) for name, shape in shapes.items()}
    return Graph(
        graph.inputs, (*graph.outputs, "l", "p"), values, graph.nodes + nodes, graph.weights | weights
    )
