"""The compiler's graph: a list of typed operations on named values, and the weights they read.

A graph describes the network for one sample: every value keeps its leading batch dimension, which is 1. Graphs are
immutable; a pass is a pure function graph -> graph (see `passes/`), and `verify` checks the result of every pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from spokeshave.compiler.operations import Operation


@dataclass(frozen=True)
class Value:
    """What flows between nodes: its shape (batch dimension included, always 1) and its element type."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Node:
    """One operation in a network.

    `layer` is the qualified name of the module it came from (`stage2.0.conv1`; unique names are not required),
    `inputs` and `outputs` name values; only `Recurrent`, `TopK`, `SelectTokens` and `Foreign` operations have more than
    one output.
    """

    layer: str
    operation: Operation
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def output(self) -> str:
        """The only output."""
        (output,) = self.outputs
        return output


@dataclass(frozen=True)
class Graph:
    """A network for one sample, in an order in which every value is made before it is used."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    weights: Mapping[str, Tensor]

    def shape(self, value: str) -> tuple[int, ...]:
        """Shape of a value."""
        return self.values[value].shape

    def maker(self, value: str) -> Node | None:
        """The node that makes a value; None for an input."""
        return self._makers.get(value)

    def readers(self, value: str) -> tuple[Node, ...]:
        """The nodes that read a value, in order; one that reads it twice stands twice."""
        return tuple(self._readers.get(value, ()))

    @cached_property
    def _makers(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def _readers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return found
