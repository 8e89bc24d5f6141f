"""A network's graph with the sizes that change: those of the caller's lengths, and of what selectors leave."""

from collections import Counter
from dataclasses import replace

from torch.export import ExportedProgram

from spokeshave.compiler.dynamic import Dynamic, Extent, Length, follow_lengths
from spokeshave.compiler.emit.lower import supports
from spokeshave.compiler.exports import Exports
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import SelectTokens
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.errors import SpokeshaveError
from spokeshave.token_selection import tokens_left


def following(exports: Exports, dynamic: Dynamic) -> tuple[Graph, tuple[Extent, ...], tuple[Length, ...]]:
    """A network's graph with its changing sizes, the axes of inputs and outputs that change, and the lengths."""
    axes = exports.batch
    lengths = exports.lengths(dynamic, axes.inputs)

    def at(sizes: tuple[int, ...]) -> Graph:
        return optimise(import_program(exports.at(sizes, lengths, axes.inputs), axes).graph)

    marked, extents = follow_lengths(at, lengths)
    if adaptive(marked):
        raise SpokeshaveError(
            "a network whose tokens are selected takes inputs of one length; leave `dynamic` out"
        )
    _check_compiled(marked)
    return marked, extents, lengths


def following_selectors(exports: Exports, graph: Graph) -> Graph:
    """A network's graph with the sizes that follow what its selectors leave, which it also gives out, in order.

    The graph itself where no selector finds its number of tokens when it runs. Raises SpokeshaveError for what has no
    form.
    """
    selectors, axes = adaptive(graph), exports.batch
    if not selectors:
        return graph
    names = [selector.name for _, selector in selectors]
    _check_selectors(exports, names)
    greatest = [graph.shape(node.outputs[0])[1] for node, _ in selectors]
    lengths = tuple(Length(name, {}, most) for name, most in zip(names, greatest, strict=True))

    def at(sizes: tuple[int, ...]) -> Graph:
        left = dict(zip(names, sizes, strict=True))
        program = exports.leaving(left, axes.inputs)
        with tokens_left(left):
            return optimise(import_program(program, axes).graph)

    marked, outside = follow_lengths(at, lengths)
    if outside:
        raise SpokeshaveError(
            f"output {outside[0].value!r} has as many tokens as are left, which differs from sample to sample; return "
            "what is made of the class token, or of their mean"
        )
    _check_compiled(marked)
    return replace(marked, outputs=(*marked.outputs, *(node.outputs[1] for node, _ in adaptive(marked))))


def adaptive(graph: Graph) -> list[tuple[Node, SelectTokens]]:
    """The nodes that select as many tokens as scores say, in order."""
    pairs = [(node, node.operation) for node in graph.nodes if isinstance(node.operation, SelectTokens)]
    return [(node, selector) for node, selector in pairs if selector.length is not None]


def _check_selectors(exports: Exports, names: list[str]) -> None:
    if isinstance(exports.network, ExportedProgram):
        raise SpokeshaveError(
            f"an exported program says how many tokens {names[0]!r} leaves; compile the network itself"
        )
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise SpokeshaveError(f"two selectors have the name {twice!r}; give each its own, and call it once")


def _check_compiled(marked: Graph) -> None:
    for node in marked.nodes:
        reason = supports(node, marked)
        if reason is not None:
            raise SpokeshaveError(
                f"layer {node.layer!r} is not compiled ({reason}); where lengths change, all of a network must be"
            )
