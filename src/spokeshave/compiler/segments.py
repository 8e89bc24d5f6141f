"""Cuts a graph into compiled segments and nodes that PyTorch runs."""

from collections.abc import Callable
from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node

Supports = Callable[[Node, Graph], str | None]


def cut(graph: Graph, supports: Supports) -> tuple[Graph | Node, ...]:
    """Segments (graphs of their own) and single nodes, in an order in which they can run.

    As long as any node is ready that continues the kind of run at hand (compiled or not), it is taken, so that there
    are few crossings between native code and PyTorch.
    """
    compiled = {id(node): supports(node, graph) is None for node in graph.nodes}
    waiting = {True: [], False: []}  # type: dict[bool, list[Node]]
    for node in graph.nodes:
        waiting[compiled[id(node)]].append(node)
    runs: list[list[Node]] = []
    made, kind = set(graph.inputs), True
    while waiting[True] or waiting[False]:
        run = _take(waiting[kind], made)
        runs += [run] if kind and run else [[node] for node in run]
        kind = not kind
    return tuple(
        _segment(graph, run, runs[i + 1 :]) if compiled[id(run[0])] else run[0] for i, run in enumerate(runs)
    )


def _take(waiting: list[Node], made: set[str]) -> list[Node]:
    """Remove and return, in order, every node whose inputs are made."""
    taken: list[Node] = []
    for node in list(waiting):
        if made.issuperset(node.inputs):
            taken.append(node)
            made.update(node.outputs)
            waiting.remove(node)
    return taken


def _segment(graph: Graph, nodes: list[Node], later: list[list[Node]]) -> Graph:
    """The segment's own graph: its inputs are what it reads, its outputs what is needed afterwards."""
    made = {name for node in nodes for name in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name not in made)
    needed = {name for run in later for node in run for name in node.inputs}.union(graph.outputs)
    outputs = tuple(name for node in nodes for name in node.outputs if name in needed)
    used = {*made, *read}
    values = {name: value for name, value in graph.values.items() if name in used}
    return replace(graph, inputs=tuple(read), outputs=outputs, values=values, nodes=tuple(nodes))
