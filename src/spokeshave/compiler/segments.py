"""Cuts a graph into compiled segments and nodes that PyTorch runs."""

from collections.abc import Callable
from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node

Supports = Callable[[Node, Graph], str | None]
Run = tuple[bool, list[Node]]  # whether it is compiled, and its nodes


def cut(graph: Graph, supports: Supports) -> tuple[Graph | Node, ...]:
    """Segments (graphs of their own) and single nodes, in an order in which they can run.

    As long as any node is ready that continues the run at hand (compiled or not), it is taken, so that there are few
    crossings between native code and PyTorch; of the two kinds to begin with, the one that leads to fewer segments.
    """
    compiled = [supports(node, graph) is None for node in graph.nodes]
    runs = min((_runs(graph, compiled, first) for first in (True, False)), key=_count_segments)
    pieces: list[Graph | Node] = []
    needed = set(graph.outputs)
    for is_compiled, nodes in reversed(runs):
        pieces += [_segment(graph, nodes, needed)] if is_compiled else reversed(nodes)
        needed.update(name for node in nodes for name in node.inputs)
    return tuple(reversed(pieces))


def _count_segments(runs: list[Run]) -> int:
    return sum(is_compiled for is_compiled, _ in runs)


def _runs(graph: Graph, compiled: list[bool], kind: bool) -> list[Run]:
    runs: list[Run] = []
    waiting = {
        choice: [n for n, c in zip(graph.nodes, compiled, strict=True) if c == choice]
        for choice in (True, False)
    }
    made = set(graph.inputs)
    while any(waiting.values()):
        taken, waiting[kind] = _split_ready(waiting[kind], made)
        runs += [(kind, taken)] if taken else []
        kind = not kind
    return runs


def _split_ready(nodes: list[Node], made: set[str]) -> tuple[list[Node], list[Node]]:
    """Nodes that can run now or after one another, whose outputs are added to `made`, and the others."""
    ready: list[Node] = []
    later: list[Node] = []
    for node in nodes:
        if made.issuperset(node.inputs):
            ready.append(node)
            made.update(node.outputs)
        else:
            later.append(node)
    return ready, later


def _segment(graph: Graph, nodes: list[Node], needed: set[str]) -> Graph:
    """The segment's own graph: its inputs are what it reads, its outputs what is needed afterwards."""
    made = {name for node in nodes for name in node.outputs}
    read = tuple(dict.fromkeys(name for node in nodes for name in node.inputs if name not in made))
    outputs = tuple(name for node in nodes for name in node.outputs if name in needed)
    values = {name: graph.values[name] for name in (*read, *made)}
    return replace(graph, inputs=read, outputs=outputs, values=values, nodes=tuple(nodes))
