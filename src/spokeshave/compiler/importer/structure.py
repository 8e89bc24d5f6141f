"""How a network's outputs are nested, kept as JSON so that a saved deployment needs no Python class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

LEAF = "tensor"


@dataclass(frozen=True)
class OutputStructure:
    """`layout` is "tensor", or {"tuple": [...]}, {"list": [...]}, {"dict": [[key, ...], ...]} of such."""

    layout: Any

    @classmethod
    def of(cls, outputs: Any) -> "OutputStructure":
        """The structure of nested outputs (or of a tree specification's placeholder)."""
        return cls(_describe(outputs))

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "OutputStructure":
        """Read what `to_json` wrote."""
        return cls(document["layout"])

    def to_json(self) -> dict[str, Any]:
        """A JSON-able document."""
        return {"layout": self.layout}

    def build(self, tensors: Sequence[Tensor]) -> Any:
        """Nest a flat list of tensors."""
        return _nest(self.layout, iter(tensors))


def _describe(outputs: Any) -> Any:
    if isinstance(outputs, tuple):
        return {"tuple": [_describe(entry) for entry in outputs]}
    if isinstance(outputs, list):
        return {"list": [_describe(entry) for entry in outputs]}
    if isinstance(outputs, dict):
        return {"dict": [[key, _describe(value)] for key, value in outputs.items()]}
    return LEAF if outputs is not None else None


def _nest(layout: Any, tensors: Iterator[Tensor]) -> Any:
    if layout is None:
        return None
    if layout == LEAF:
        return next(tensors)
    ((kind, entries),) = layout.items()
    if kind == "dict":
        return {key: _nest(entry, tensors) for key, entry in entries}
    nested = [_nest(entry, tensors) for entry in entries]
    return tuple(nested) if kind == "tuple" else nested


def structure_of_specification(specification: pytree.TreeSpec) -> OutputStructure:
    """The structure that a tree specification of `torch.export` describes."""
    return OutputStructure.of(pytree.tree_unflatten([LEAF] * specification.num_leaves, specification))
