"""A graph as plain JSON, its weights aside: what a saved deployment holds."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Activation, Divided, Operation, Quantization, Rescale, Steps

KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (*get_args(Operation), Activation, Divided, Quantization, Rescale, Steps)
}


def graph_document(graph: Graph) -> dict[str, Any]:
    """Everything but the weights."""
    return {
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "values": [[value.name, [*map(int, value.shape)], value.dtype] for value in graph.values.values()],
        "nodes": [
            {
                "layer": node.layer,
                "operation": _plain(node.operation),
                "inputs": list(node.inputs),
                "outputs": list(node.outputs),
            }
            for node in graph.nodes
        ],
    }


def graph_from(document: dict[str, Any], weights: dict[str, Any]) -> Graph:
    """The graph again; only the compiler's own operation types are made."""
    values = [Value(name, tuple(shape), dtype) for name, shape, dtype in document["values"]]
    nodes = tuple(
        Node(entry["layer"], _read(entry["operation"]), tuple(entry["inputs"]), tuple(entry["outputs"]))
        for entry in document["nodes"]
    )
    return Graph(
        tuple(document["inputs"]),
        tuple(document["outputs"]),
        {value.name: value for value in values},
        nodes,
        weights,
    )


def _plain(entry: Any) -> Any:
    if is_dataclass(entry) and not isinstance(entry, type):
        content = {field.name: _plain(getattr(entry, field.name)) for field in fields(entry)}
        return {"type": type(entry).__name__} | content
    return [_plain(part) for part in entry] if isinstance(entry, tuple) else entry


def _read(entry: Any) -> Any:
    if isinstance(entry, dict):
        content = {key: _read(value) for key, value in entry.items() if key != "type"}
        return KINDS[entry["type"]](**content)
    return tuple(_read(part) for part in entry) if isinstance(entry, list) else entry
