"""The grammar: a graph with one thing wrong in it is refused, and the refusal says what."""

import pytest
import torch

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    Affine,
    Concatenate,
    Foreign,
    Linear,
    Mean,
    Pad,
    Permute,
    Slice,
)
from spokeshave.compiler.verify import GraphError, verify


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
        changes.get("inputs", ("x",)),
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
        ({"values": {"a": Value("a", (4, 1))}}, "no sample axis"),
        ({"values": {"a": Value("a", (1, 4), "int64")}}, "int64"),
        ({"weights": {"w": torch.zeros(4, 4, 1)}}, "weight of 3 axes"),
        ({"nodes": (Node("n", Permute((1, 0)), ("x",), ("y",)),)}, "moves the sample axis"),
        ({"nodes": (Node("n", Mean((1, 0), True), ("x",), ("y",)),)}, "is over axes"),
        ({"nodes": (Node("n", Concatenate(0), ("x", "x"), ("y",)),)}, "along axis 0"),
        ({"nodes": (Node("n", Slice(1, 0, 5, 1), ("x",), ("y",)),)}, "takes 0 to 5"),
        ({"nodes": (Node("n", Pad((1, 0), (0, 0)), ("x",), ("y",)),)}, "pads by"),
        ({"nodes": (Node("n", Affine("w", "w"), ("x",), ("y",)),)}, "4 channels"),
        (
            {
                "nodes": (
                    Node("n", Foreign("aten.relu.default", '[[{"value": "q"}], {}]', ""), ("x",), ("y",)),
                )
            },
            "names 'q'",
        ),
        (
            {"nodes": (Node("n", Foreign("aten.relu.default", '[[{"weight": "q"}], {}]', ""), (), ("y",)),)},
            "no weight",
        ),
        (
            {
                "nodes": (Node("n", Linear("w", None, residual=True), ("x", "s"), ("y",)),),
                "values": {"s": Value("s", (1, 1))},
                "inputs": ("x", "s"),
            },
            "adds",
        ),
    ],
)
def test_the_verifier_names_what_is_wrong(changes, message):
    verify(two_nodes())
    with pytest.raises(GraphError, match=message):
        verify(two_nodes(**changes))
