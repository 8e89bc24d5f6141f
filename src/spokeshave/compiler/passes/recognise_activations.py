"""An activation that a network spells out in arithmetic becomes one operation.

    0.5 * x * (1 + tanh(c * (x + 0.044715 * x * x * x)))    =>    gelu by tanh
    x * sigmoid(x)                                          =>    silu

No formula is known by its form: numbers are sent through the arithmetic, and what comes out tells.
"""

from dataclasses import replace

import torch
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Activate, Activation, ActivationKind, Binary
from spokeshave.compiler.reference import run_operation

SPELLED_OUT: tuple[ActivationKind, ...] = ("gelu_tanh", "gelu", "silu", "hardswish")
NUMBERS = torch.linspace(-12, 12, 769, dtype=torch.float64)[None]
TOLERANCE = 1e-6  # constants are float32
MOST_SOURCES = 16  # of one value: no activation has as many steps

Functions = dict[str, Tensor]


def recognise_activations(graph: Graph) -> Graph:
    """Replace the last step of everything that computes a known activation; the steps before it are for others."""
    known = [(Activation(kind), activate(Activation(kind), NUMBERS)) for kind in SPELLED_OUT]
    functions: dict[str, Functions] = {}  # of each value: what it is of each value that it is made from alone
    nodes = []
    for node in graph.nodes:
        found = _functions(graph, node, functions)
        for source, numbers in found.items():
            for activation, expected in known:
                if torch.allclose(numbers, expected, rtol=TOLERANCE, atol=TOLERANCE):
                    node = Node(node.layer, Activate(activation), (source,), node.outputs)
        functions[node.outputs[0]] = {node.outputs[0]: NUMBERS} | found
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _functions(graph: Graph, node: Node, functions: dict[str, Functions]) -> Functions:
    """What an element-wise operation's output is of every value that all its inputs are made from."""
    operation = node.operation
    if not isinstance(operation, Activate | Binary):
        return {}
    constant = operation.constant if isinstance(operation, Binary) else None
    shapes = {graph.shape(name) for name in (*node.inputs, node.output)}
    if len(shapes) > 1 or (constant is not None and graph.weights[constant].numel() > 1):
        return {}
    weights = {} if constant is None else {constant: graph.weights[constant].reshape(()).double()}
    inputs = [functions.get(name, {name: NUMBERS}) for name in node.inputs]
    common = [source for source in inputs[0] if all(source in other for other in inputs)][:MOST_SOURCES]
    shape = tuple(NUMBERS.shape)
    return {
        source: run_operation(operation, [each[source] for each in inputs], weights, shape, {})[0].double()
        for source in common
    }
