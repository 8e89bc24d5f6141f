"""Attention between layers of lower precision: in bfloat16 where a CPU multiplies that faster than float32."""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.operations import Attention


def attention_in_bfloat16(graph: Graph, isa: InstructionSet) -> Graph:
    """The graph with both products of every attention in bfloat16, if that pays.

    Roundings are 2^-9 of a number at most, about half a level of int8, and average out over channels and keys.
    """
    if not isa.multiplies_bfloat16:
        return graph
    return replace(graph, nodes=tuple(_halved(node) for node in graph.nodes))


def _halved(node: Node) -> Node:
    operation = node.operation
    return (
        replace(node, operation=replace(operation, half=True)) if isinstance(operation, Attention) else node
    )
