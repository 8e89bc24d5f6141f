"""A network's exports, each made once: by its example, and by other lengths of its inputs."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten

from spokeshave.batch import BatchAxes, find_batch_axes
from spokeshave.compiler.dynamic import Dynamic, Length, compared_lengths, lengths_of, resized
from spokeshave.export import export_network, one_sample
from spokeshave.nesting import flattened
from spokeshave.token_selection import tokens_left

Axes = tuple[int, ...]  # the batch axis of every input


class Exports:
    """A network and an example of its inputs, exported for one sample when that is asked for."""

    def __init__(self, network: nn.Module | ExportedProgram, example: Tensor | tuple[Any, ...]) -> None:
        self.network, self.example = network, example
        self.shapes = tuple(tuple(getattr(leaf, "shape", ())) for leaf in flattened(example)[0])
        self._made: dict[Any, ExportedProgram] = {}

    @cached_property
    def batch(self) -> BatchAxes:
        """Where the network has its batch; looking for it takes longer than an export."""
        return find_batch_axes(self.network, self.example)

    def program(self, axes: Axes) -> ExportedProgram:
        """The network exported by its example."""
        return self._exported(one_sample(self.example, axes), axes)

    def at(self, sizes: tuple[int, ...], lengths: Sequence[Length], axes: Axes) -> ExportedProgram:
        """The network exported with its changing lengths of some sizes."""
        inputs, nesting = flattened(one_sample(self.example, axes))
        return self._exported(tree_unflatten(resized(inputs, lengths, sizes), nesting), axes)

    def leaving(self, left: Mapping[str, int], axes: Axes) -> ExportedProgram:
        """The network exported with its selectors leaving so many tokens."""
        with tokens_left(left):
            return export_network(self.network, self.example, axes)

    def lengths(self, dynamic: Dynamic, axes: Axes) -> tuple[Length, ...]:
        """The lengths that `dynamic` names."""
        names = [str(name) for name in self.program(axes).graph_signature.user_inputs]
        return lengths_of(names, flattened(one_sample(self.example, axes))[0], dynamic, axes)

    def deciding(self, dynamic: Dynamic | None, axes: Axes) -> tuple[ExportedProgram, ...]:
        """The programs that decide what is compiled: one that was given does so alone."""
        if isinstance(self.network, ExportedProgram):
            return (self.network,)
        if not dynamic:
            return (self.program(axes),)
        lengths = self.lengths(dynamic, axes)
        most = tuple(length.greatest for length in lengths)
        return tuple(self.at(sizes, lengths, axes) for sizes in compared_lengths(most))

    def _exported(self, inputs: tuple[Any, ...], axes: Axes) -> ExportedProgram:
        key = (axes, tuple(tensor.shape for tensor in flattened(inputs)[0]))
        if key not in self._made:
            self._made[key] = export_network(self.network, inputs, axes)
        return self._made[key]
