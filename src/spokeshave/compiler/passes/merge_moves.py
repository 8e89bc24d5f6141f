"""Chains of operations that only move elements become one, or none at all.

    heads of query, key and value, split out of one layer's channels       =>    a slice of channels
    split in heads -> swap heads and tokens -> swap back -> join heads    =>    nothing
    windows of an image's tokens: reshape, permute, reshape, roll ...     =>    take tokens by number

No operation is known by its kind: the elements' numbers are sent through the chain, and what comes out tells.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Concatenate, Expand, Operation, Permute, Reshape, Slice, Take
from spokeshave.compiler.passes.rewrite import reading
from spokeshave.compiler.reference import run_operation

MOVES = (Concatenate, Expand, Permute, Reshape, Slice, Take)


@dataclass(frozen=True)
class _Moved:
    """Where each element of a value comes from: element `numbers` of `source`; how many operations moved it."""

    source: str
    numbers: Tensor
    moves: int  # other than reshapes and repetitions


def merge_moves(graph: Graph) -> Graph:
    """Let every operation read the source of the moves before it, by a reshape or one `Take` where that serves."""
    rewriting = _Rewriting(graph, dict(graph.values), dict(graph.weights))
    for node in graph.nodes:
        rewriting.visit(node)
    outputs = tuple(rewriting.shortened(name, "") for name in graph.outputs)
    made = {**graph.values, **rewriting.values}
    return replace(
        graph, nodes=tuple(rewriting.nodes), outputs=outputs, values=made, weights=rewriting.weights
    )


class _Rewriting:
    def __init__(self, graph: Graph, values: dict[str, Value], weights: dict[str, Tensor]) -> None:
        self.graph, self.values, self.weights = graph, values, weights
        self.nodes: list[Node] = []
        self.moved: dict[str, _Moved] = {}
        self.known: dict[str, str] = {}

    def visit(self, node: Node) -> None:
        """Remember what a move does; let anything else read past the moves."""
        moved = self._through(node) if isinstance(node.operation, MOVES) else None
        if moved is not None:
            self.moved[node.output] = moved
        else:
            node = reading(node, {name: self.shortened(name, node.layer) for name in node.inputs})
        self.nodes.append(node)

    def _through(self, node: Node) -> _Moved | None:
        """What a move does to the elements of the one value that it reads pieces of; None where there are several."""
        before = [self.moved.get(name) or self._still(name) for name in node.inputs]
        if len({moved.source for moved in before}) > 1 or self.values[node.output].dtype != "float32":
            return None
        shape = self.values[node.output].shape
        (numbers,) = run_operation(node.operation, [m.numbers for m in before], self.weights, shape, {})
        moves = max(moved.moves for moved in before) + (not isinstance(node.operation, Reshape | Expand))
        return _Moved(before[0].source, numbers, moves)

    def _still(self, name: str) -> _Moved:
        shape = self.values[name].shape
        return _Moved(name, torch.arange(torch.Size(shape).numel()).reshape(shape), 0)

    def shortened(self, name: str, layer: str) -> str:
        """The value itself, or one with the same elements that is made from further up."""
        moved = self.moved.get(name)
        if moved is None or moved.moves == 0:
            return name
        if name not in self.known:
            self.known[name] = self._made(name, moved, layer)
        return self.known[name]

    def _made(self, name: str, moved: _Moved, layer: str) -> str:
        numbers, source = moved.numbers, self.values[moved.source].shape
        if numbers.numel() == torch.Size(source).numel() and _in_order(numbers.reshape(-1)):
            return self._append(layer, Reshape(), (moved.source,), self.values[name].shape, name)
        if moved.moves == 1 and self._is_take(name):
            return name
        channels = _channels(numbers, source)
        if channels is not None:
            return self._channels_taken(name, moved.source, channels, layer)
        places = _tokens(numbers, source)
        return name if places is None else self._taken(name, moved.source, places, layer)

    def _is_take(self, name: str) -> bool:
        maker = next(node for node in reversed(self.nodes) if name in node.outputs)
        return isinstance(maker.operation, Concatenate | Slice | Take)

    def _channels_taken(self, name: str, source: str, channels: Tensor, layer: str) -> str:
        """A slice of the source's channels where they are neighbours, else a `Take`."""
        first, shape = int(channels[0]), self.values[name].shape
        if _in_order(channels - first):
            return self._append(layer, Slice(2, first, first + len(channels), 1), (source,), shape, name)
        self.weights[f"channels of {name}"] = channels
        return self._append(layer, Take(2, f"channels of {name}"), (source,), shape, name)

    def _taken(self, name: str, source: str, places: tuple[Tensor, ...], layer: str) -> str:
        """One `Take` for each run of the source's channels, side by side."""
        shape, width = self.values[name].shape, self.values[source].shape[-1]
        pieces = []
        for position, indices in enumerate(places):
            weight = f"tokens {position} of {name}"
            self.weights[weight] = indices
            pieces.append(self._append(layer, Take(1, weight), (source,), (1, shape[1], width), name))
        if len(pieces) == 1:
            return pieces[0]
        return self._append(layer, Concatenate(2), tuple(pieces), shape, name)

    def _append(
        self, layer: str, operation: Operation, inputs: tuple[str, ...], shape: tuple[int, ...], base: str
    ) -> str:
        output = f"{base} moved"
        while output in self.values:
            output += "."
        self.values[output] = Value(output, shape)
        self.nodes.append(Node(layer, operation, inputs, (output,)))
        return output


def _in_order(numbers: Tensor) -> bool:
    return bool((numbers == torch.arange(len(numbers))).all())


def _channels(numbers: Tensor, source: tuple[int, ...]) -> Tensor | None:
    """Which channels of the source stand where, the same for every token; None where tokens move."""
    if len(source) != 3 or numbers.dim() != 3 or numbers.shape[1] != source[1] or not numbers.numel():
        return None
    first = numbers[0, 0]
    rows = torch.arange(source[1])[:, None] * source[2]
    return first.clone() if first.max() < source[2] and torch.equal(numbers[0], first + rows) else None


def _tokens(numbers: Tensor, source: tuple[int, ...]) -> tuple[Tensor, ...] | None:
    """Which tokens of the source stand where, for each run of its channels; None where channels do not stay whole."""
    if len(source) != 3 or numbers.dim() != 3 or numbers.shape[-1] % source[2]:
        return None
    runs = numbers.reshape(numbers.shape[1], -1, source[2])
    first = runs[..., :1]
    if (first % source[2]).any() or not torch.equal(runs, first + torch.arange(source[2])):
        return None
    return tuple((first[..., 0] // source[2]).t().contiguous().unbind())
