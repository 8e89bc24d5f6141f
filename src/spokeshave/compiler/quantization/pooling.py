"""Max pooling between integer layers: the layer before it makes the integers that the layer behind it reads.

    Quantized -> Pool -> Quantize        =>   Quantized (uint8 out), QuantizedPool

What rounds and clamps keeps the order of numbers, so the largest of rounded numbers is the largest number, rounded.
"""

from dataclasses import replace

from spokeshave.compiler.emit.layouts import is_planar
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Pool, Quantize, Quantized, QuantizedPool


def pools_to_integers(graph: Graph) -> Graph:
    """The graph with every such pooling in integers, where nothing else reads what is between the three."""
    for pool in graph.nodes:
        found = _between_integers(graph, pool)
        if found:
            graph = _pooled(graph, pool, *found)
    return graph


def _between_integers(graph: Graph, pool: Node) -> tuple[Node, Node] | None:
    """The layer before a max pooling and the conversion behind it, if it has them and no other neighbours."""
    if not isinstance(pool.operation, Pool) or pool.operation.kind != "max":
        return None
    if not is_planar(graph.shape(pool.output)):  # the integers of a single position lie in rows
        return None
    maker, readers = graph.maker(pool.inputs[0]), graph.readers(pool.output)
    given = {pool.inputs[0], pool.output} & set(graph.outputs)
    if maker is None or graph.readers(pool.inputs[0]) != (pool,) or len(readers) != 1 or given:
        return None
    fits = isinstance(maker.operation, Quantized) and isinstance(readers[0].operation, Quantize)
    return (maker, readers[0]) if fits else None


def _pooled(graph: Graph, pool: Node, layer: Node, conversion: Node) -> Graph:
    assert isinstance(pool.operation, Pool)
    assert isinstance(layer.operation, Quantized)
    assert isinstance(conversion.operation, Quantize)
    quantization, made = conversion.operation.quantization, f"{pool.inputs[0]}.integers"
    changed = {
        id(layer): replace(layer, operation=replace(layer.operation, output=quantization), outputs=(made,)),
        id(pool): Node(pool.layer, QuantizedPool(pool.operation, quantization), (made,), conversion.outputs),
    }
    nodes = tuple(changed.get(id(node), node) for node in graph.nodes if node is not conversion)
    values = dict(graph.values) | {made: Value(made, graph.shape(pool.inputs[0]), "uint8")}
    values = {name: value for name, value in values.items() if name not in (pool.inputs[0], pool.output)}
    return replace(graph, nodes=nodes, values=values)
