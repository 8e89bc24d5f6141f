"""Exported program -> graph."""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer.context import Importing, NotTypedError
from spokeshave.compiler.importer.operators import OPERATORS
from spokeshave.compiler.importer.structure import OutputStructure, structure_of_specification


@dataclass(frozen=True)
class Imported:
    """A graph and how its outputs are nested."""

    graph: Graph
    structure: OutputStructure


def import_program(program: ExportedProgram) -> Imported:
    """Import a program that was exported for one sample.

    Operators without a typed operation become `Foreign`. What is computed from weights alone is computed now.
    """
    program = program.run_decompositions({})
    importing, inputs = Importing(), []
    placeholders = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = placeholders[node.name]
            if spec.kind == InputKind.USER_INPUT:
                importing.values[node] = importing.declare(node)
                inputs.append(node.name)
            else:
                importing.weights[node] = str(spec.target)
                importing.tensors[str(spec.target)] = _tensor(program, str(spec.target))
        elif node.op == "call_function":
            _import_call(importing, node)
    (returned,) = next(node for node in program.graph.nodes if node.op == "output").args
    outputs = tuple(importing.values.get(node) or importing.weights[node] for node in returned)
    graph = Graph(tuple(inputs), outputs, importing.table, tuple(importing.nodes), importing.tensors)
    return Imported(graph, structure_of_specification(program.call_spec.out_spec))


def _tensor(program: ExportedProgram, name: str) -> Tensor:
    tensor = program.state_dict[name] if name in program.state_dict else program.constants[name]
    return tensor.detach()


def _import_call(importing: Importing, node: fx.Node) -> None:
    if node.target is operator.getitem:
        _import_item(importing, node)
    elif all(source in importing.weights for source in node.all_input_nodes) and isinstance(
        node.meta.get("val"), Tensor
    ):
        _fold(importing, node)
    else:
        _import_operator(importing, node)


def _import_item(importing: Importing, node: fx.Node) -> None:
    source, index = node.args
    assert isinstance(source, fx.Node)
    if source in importing.values:  # a typed operation keeps the first output only
        importing.values[node] = importing.values[source]
    else:
        importing.values[node] = f"{source.name}.{index}"


def _fold(importing: Importing, node: fx.Node) -> None:
    """Compute now what depends on weights alone."""
    tensors = {source: importing.tensors[importing.weights[source]] for source in node.all_input_nodes}
    arguments, keywords = fx.node.map_arg((node.args, node.kwargs), lambda source: tensors[source])
    with torch.no_grad():
        result = node.target(*arguments, **keywords)  # type: ignore[operator]
    importing.tensors[node.name] = result
    importing.weights[node] = node.name


def _import_operator(importing: Importing, node: fx.Node) -> None:
    name = str(node.target).split(".")[1] if str(node.target).startswith("aten.") else ""
    if name.startswith("_assert"):
        return
    try:
        if name not in OPERATORS:
            raise NotTypedError(f"{name or node.target} has no kernel")
        OPERATORS[name](importing, node)
    except NotTypedError as reason:
        importing.add_foreign(node, str(reason))
