"""Element-wise operations run on the phases of a map rather than on the whole, next to the layer that makes them.

    conv -> interleave -> affine -> relu    =>    conv -> affine -> relu -> interleave

So transposed convolutions take in their batch norms and activations.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Activate, Affine, Interleave, Operation
from spokeshave.compiler.passes.rewrite import uses


def delay_interleaves(graph: Graph) -> Graph:
    """Move interleaves down past activations and affine operations that alone read them, in one walk."""
    values, weights, read = dict(graph.values), dict(graph.weights), uses(graph)
    kept: dict[str, Node] = {}  # by first output, in order
    for node in graph.nodes:
        maker = kept.get(node.inputs[0]) if node.inputs else None
        interleave = maker.operation if maker else None
        passes = maker and read[maker.outputs[0]] == 1 and isinstance(node.operation, Activate | Affine)
        if maker and passes and isinstance(interleave, Interleave):
            operation, found = _on_phases(node, interleave, weights)
            weights |= found
            made = Value(f"{node.output} phases", values[maker.inputs[0]].shape)
            values[made.name] = made
            del kept[maker.output]
            kept[made.name] = replace(node, operation=operation, inputs=maker.inputs, outputs=(made.name,))
            node = Node(maker.layer, interleave, (made.name,), node.outputs)
        kept[node.outputs[0]] = node
    return replace(graph, nodes=tuple(kept.values()), values=values, weights=weights)


def _on_phases(
    node: Node, interleave: Interleave, weights: Mapping[str, Tensor]
) -> tuple[Operation, dict[str, Tensor]]:
    """The same operation on the phases, and the weights that it needs."""
    operation = node.operation
    if not isinstance(operation, Affine):
        return operation, {}
    names = operation.scale, operation.shift
    found = {f"{name} of {node.output}": _for_phases(weights[name], interleave) for name in names}
    scale, shift = found
    return replace(operation, scale=scale, shift=shift), found


def _for_phases(by_channel: Tensor, interleave: Interleave) -> Tensor:
    """Numbers by channel, repeated for every phase in the order of the channels before."""
    phases = interleave.rows * interleave.columns
    return by_channel.reshape(interleave.groups, 1, -1).expand(-1, phases, -1).reshape(-1)
