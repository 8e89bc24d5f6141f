"""bfloat16 kernels against PyTorch on rounded inputs and weights; whole networks in bfloat16.

Sums are float32 in another order, so a rounded output may be its neighbour: one step of bfloat16, 2^-7 of the number.
"""

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.compiler.quantization.random_layers import has_kernel, joined, layers
from torch import nn

from spokeshave.compiler import compile_network, load_deployment
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import best_here, instruction_set
from spokeshave.compiler.operations import Linear, Round, Rounded, Widen
from spokeshave.compiler.quantization.bfloat16 import DEPTHWISE, SCATTERED, to_bfloat16
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.verify import verify

STEP, SUMS = 2.0**-7, 1e-5


def rounded_graph(operation, weights, shape, out):
    """x (and r) float32, rounded; the layer; its output widened and given as `y`, or `y` itself."""
    values = {"x": Value("x", shape), "xb": Value("xb", shape, "bfloat16"), "y": Value("y", out)}
    nodes, inputs, read = [Node("", Round(), ("x",), ("xb",))], ("x",), ("xb",)
    if operation.layer.residual:
        inputs, read = ("x", "r"), ("xb", "r")
        values["r"] = Value("r", out)
    if operation.residual:
        values["rb"], read = Value("rb", out, "bfloat16"), ("xb", "rb")
        nodes.append(Node("", Round(), ("r",), ("rb",)))
    nodes.append(Node("layer", operation, read, ("yb" if operation.output else "y",)))
    if operation.output:
        values["yb"] = Value("yb", out, "bfloat16")
        nodes.append(Node("", Widen(), ("yb",), ("y",)))
    return verify(Graph(inputs, ("y",), values, tuple(nodes), weights))


def random_case(case, density):
    """A graph of one layer, and inputs."""
    layer, shape, read, seed = case
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)
    weights = {"w": weight.bfloat16() + 0} | (
        {"b": torch.randn(shape[0], generator=generator)} if layer.bias else {}
    )
    flags = torch.randint(2, (2,), generator=generator).bool().tolist()
    operation = Rounded(layer, layer.residual and flags[0], flags[1])
    plain = type(layer)(**(vars(layer) | {"residual": False, "weight": "w", "bias": None}))
    values = {"x": Value("x", read), "y": Value("y", read)}
    (out,) = run_reference(
        Graph(("x",), ("y",), values, (Node("", plain, ("x",), ("y",)),), {"w": weight}), [torch.zeros(read)]
    )
    inputs = [torch.randn(2, *read[1:], generator=generator)]
    inputs += [torch.randn(2, *out.shape[1:], generator=generator)] * layer.residual
    return rounded_graph(operation, weights, read, tuple(out.shape)), inputs


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cases=st.lists(st.tuples(layers(), st.sampled_from([0.0, 0.1, 0.5, 1.0])), min_size=12, max_size=12))
def test_kernels_are_close_to_the_reference(back_end, integer_isa, cases):
    graphs, inputs = [], []
    for case, density in cases:
        graph, read = random_case(case, density)
        if has_kernel(graph):
            graphs, inputs = [*graphs, graph], inputs + read
    graph = joined(graphs)
    expected = run_reference(graph, inputs)
    for one, result, reference in zip(graphs, back_end(graph, inputs, integer_isa), expected, strict=True):
        assert is_close(one, result, reference)


def is_close(graph, result, reference):
    """Whether no number is further off than its rounding explains."""
    step = STEP if isinstance(graph.nodes[-1].operation, Widen) else SUMS
    return torch.all((result - reference).abs() <= step * reference.abs() + SUMS * reference.abs().max())


def test_numbers_are_rounded_to_the_nearest_with_ties_to_even(back_end, integer_isa):
    values = {
        "x": Value("x", (1, 3, 1, 9)),
        "xb": Value("xb", (1, 3, 1, 9), "bfloat16"),
        "y": Value("y", (1, 3, 1, 9)),
    }
    nodes = (Node("", Round(), ("x",), ("xb",)), Node("", Widen(), ("xb",), ("y",)))
    bits = torch.tensor(
        [0x3F808000, 0x3F818000, 0x3F808001, 0x3F80FFFF, 0x7F7FFFFF, 0x7F800000, 0x7FFFFFFF, 0x7F800001, 0]
    )
    x = bits.int().view(torch.float32).expand(1, 3, 1, 9) * torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
    (result,) = back_end(Graph(("x",), ("y",), values, nodes, {}), [x], integer_isa)
    torch.testing.assert_close(result, x.bfloat16().float(), rtol=0, atol=0, equal_nan=True)


class Mixed(nn.Module):
    """Odd channels, a residual, a pool and a depthwise convolution between, and a head over one vector."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 13, 3, 2, 1)
        self.second = nn.Conv2d(13, 13, 3, 1, 1)
        self.third = nn.Conv2d(13, 7, 1)
        self.fourth = nn.Conv2d(7, 7, 3, 1, 1, groups=7)
        self.head = nn.Linear(7, 5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) + x)
        return self.head(self.fourth(self.third(nn.functional.max_pool2d(x, 2))).mean((2, 3)))


def test_a_network_says_what_became_of_each_layer(tmp_path):
    torch.manual_seed(0)
    network, x = Mixed().eval(), torch.randn(3, 3, 21, 17)
    deployment = compile_network(network, x, precision="bfloat16")
    records = {layer.layer: layer for layer in deployment.manifest.layers}
    computed = [name for name, layer in records.items() if layer.precision == "bfloat16" and not layer.reason]
    assert computed == ["first", "second", "third"]
    assert (records["fourth"].precision, records["fourth"].reason) == ("float32", DEPTHWISE)
    assert "weights" in records["head"].reason
    difference = (deployment(x) - network(x)).square().mean() / network(x).square().mean()
    assert 0 < difference.sqrt() < 0.01
    deployment.save(tmp_path / "saved")
    loaded = load_deployment(tmp_path / "saved")
    assert loaded.manifest == deployment.manifest
    assert torch.equal(loaded(x), deployment(x))


def test_scattered_zeros_are_left_to_float32():
    torch.manual_seed(0)
    weight = torch.randn(64, 64)
    scattered = weight * (torch.rand(64, 64) < 0.1)
    pairs = weight * (torch.rand(8, 32) < 0.1).repeat_interleave(8, 0).repeat_interleave(2, 1)
    precisions = []
    for kept in (weight, scattered, pairs):
        values = {"x": Value("x", (1, 40, 64)), "y": Value("y", (1, 40, 64))}
        graph = Graph(
            ("x",), ("y",), values, (Node("layer", Linear("w", None), ("x",), ("y",)),), {"w": kept}
        )
        _, (record,) = to_bfloat16((graph,), instruction_set("avx512_bf16"))
        precisions.append((record.precision, record.reason))
    assert precisions == [("bfloat16", ""), ("float32", SCATTERED), ("bfloat16", "")]


def test_neighbouring_layers_pass_bfloat16_on():
    shapes = {"x": (1, 6, 12), "a": (1, 6, 30), "b": (1, 6, 12), "c": (1, 6, 12)}
    values = {name: Value(name, shape) for name, shape in shapes.items()}
    weights = {"up": torch.randn(30, 12), "down": torch.randn(12, 30)}
    nodes = (
        Node("up", Linear("up", None), ("x",), ("a",)),
        Node("down", Linear("down", None, residual=True), ("a", "x"), ("b",)),
        Node("again", Linear("down", None), ("a",), ("c",)),
    )
    (lowered,), _ = to_bfloat16((Graph(("x",), ("b", "c"), values, nodes, weights),), best_here())
    kinds = [type(node.operation) for node in lowered.nodes]
    assert kinds == [Round, Rounded, Rounded, Rounded]
    assert [node.operation.output for node in lowered.nodes[1:]] == [True, False, False]
    assert all(
        weight.dtype != torch.float32 for name, weight in lowered.weights.items() if "bfloat16" in name
    )
