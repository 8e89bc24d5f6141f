"""Max pooling between integer layers: in integers, bit for bit, for every instruction set of this CPU."""

import pytest
import torch

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activation,
    Convolution,
    Pool,
    Quantization,
    Quantize,
    QuantizedPool,
)
from spokeshave.compiler.quantization.integers import to_integers
from spokeshave.compiler.reference import run_reference

POOLS = [
    (Pool("max", (2, 2), (2, 2)), (6, 11)),
    (Pool("max", (3, 3), (2, 2), (1, 1, 1, 1)), (7, 12)),
    (Pool("max", (3, 2), (1, 1), (1, 0, 1, 0)), (13, 22)),
    (Pool("max", (2, 2), (3, 3), (0, 0, 0, 0), (2, 1)), (4, 8)),
]


def network(pool, out, outputs=("z",)):
    """Convolution, pooling and convolution over a map of 13 x 23."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        "a": torch.randn(10, 5, 3, 3, generator=generator),
        "b": torch.randn(9, 10, 3, 3, generator=generator),
    }
    pad = (1, 1, 1, 1)
    nodes = (
        Node("first", Convolution("a", None, padding=pad, activation=Activation("relu")), ("x",), ("y",)),
        Node("pool", pool, ("y",), ("p",)),
        Node("second", Convolution("b", None, padding=pad), ("p",), ("z",)),
    )
    shapes = {"x": (5, 13, 23), "y": (10, 13, 23), "p": (10, *out), "z": (9, *out)}
    return Graph(
        ("x",), outputs, {name: Value(name, (1, *shape)) for name, shape in shapes.items()}, nodes, weights
    )


def in_integers(graph, zero_point, scale=0.05):
    ranges = {name: Quantization(scale, zero_point) for name in graph.values}
    return to_integers(graph, frozenset({"y", "z"}), ranges)


@pytest.mark.parametrize("zero_point", [0, 120])
def test_pools_equal_the_reference_bit_for_bit(back_end, integer_isa, zero_point):
    x = torch.randn(2, 5, 13, 23)
    for pool, out in POOLS:
        graph = in_integers(network(pool, out), zero_point)
        assert [type(node.operation) for node in graph.nodes].count(QuantizedPool) == 1
        assert torch.equal(back_end(graph, [x], integer_isa)[0], run_reference(graph, [x])[0])


def test_the_largest_of_rounded_numbers_is_the_largest_number_rounded():
    pool, out = POOLS[1]
    x = torch.randn(1, 5, 13, 23)
    integers, floats = in_integers(network(pool, out), 100, 0.2), network(pool, out, ("p",))
    quantize = next(node for node in integers.nodes if isinstance(node.operation, Quantize)).operation
    pooled = next(node for node in integers.nodes if isinstance(node.operation, QuantizedPool))
    assert pooled.operation.quantization == quantize.quantization
    made = run_reference(
        Graph(("x",), pooled.outputs, integers.values, integers.nodes, integers.weights), [x]
    )
    exact = run_reference(floats, [x])[0] / 0.2 + 100
    difference = (made[0].float() - exact.clamp(0, 255)).abs()
    assert difference.median() <= 2
    assert difference.max() <= 12  # levels: what x loses, times 45 weights


@pytest.mark.parametrize("outputs", [("z", "y"), ("z", "p")])
def test_a_pool_stays_float32_where_others_read_what_it_takes_or_makes(outputs):
    graph = in_integers(network(*POOLS[0], outputs), 0)
    assert not any(isinstance(node.operation, QuantizedPool) for node in graph.nodes)
