"""Max pooling of two by two, which other kernels can do on the way."""

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Pool


def is_max_of_pairs(graph: Graph, node: Node) -> bool:
    """Whether it is max pooling of two by two, every second both ways, from maps to maps."""
    operation = node.operation
    if not isinstance(operation, Pool) or operation.kind != "max":
        return False
    read, written = graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:]
    pairs = operation.kernel == operation.stride == (2, 2) and operation.dilation == (1, 1)
    inside = all(2 * after <= before for before, after in zip(read, written, strict=True))
    return pairs and inside and not any(operation.padding[:2]) and written[0] * written[1] > 1
