"""Values that are -1 or 1 alone, and sums of which nothing but the sign is read: both have levels of their own.

A sign is the level -1 or 1. What a sign alone reads of a layer is the sum itself, cut off at the bits of a value: a
batch norm, a bias and the sign behind them are one bound on the sum, which goes into the layer's bias.
"""

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.operations import (
    Activate,
    Concatenate,
    Convolution,
    Expand,
    Linear,
    Pad,
    Permute,
    Pool,
    Quantization,
    Reshape,
    Slice,
    Take,
)
from spokeshave.compiler.passes.recognise_signs import SIGN

SIGNS = Quantization(1.0, 0, -1, 1)
KEEPING = (Concatenate, Expand, Permute, Reshape, Slice, Take)


def sign_values(graph: Graph) -> frozenset[str]:
    """The values that are -1 or 1 whatever the network reads."""
    found: set[str] = set()
    for node in graph.nodes:
        if _makes_signs(node) or (_keeps_signs(node) and node.inputs and found.issuperset(node.inputs)):
            found.update(node.outputs)
    return frozenset(found)


def sums_before_signs(graph: Graph) -> frozenset[str]:
    """What layers make for signs alone."""
    return frozenset(
        node.output
        for node in graph.nodes
        if isinstance(node.operation, Convolution | Linear)
        and not (node.operation.residual or node.operation.activation)
        and node.output not in graph.outputs
        and [reader.operation for reader in graph.readers(node.output)] == [Activate(SIGN)]
    )


def levels_of_sums(form: IntegerForm) -> Quantization:
    """What is kept of them: as many bits as a value has."""
    half = 1 << form.activation_bits - 1
    return Quantization(1.0, 0, -half, half - 1)


def _makes_signs(node: Node) -> bool:
    operation = node.operation
    return operation == Activate(SIGN) or getattr(operation, "activation", None) == SIGN


def _keeps_signs(node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, Pad):
        return abs(operation.value) == 1
    return isinstance(operation, KEEPING) or (isinstance(operation, Pool) and operation.kind == "max")
