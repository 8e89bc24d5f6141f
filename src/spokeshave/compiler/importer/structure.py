"""How a network's outputs are nested, kept as JSON so that a saved deployment needs no Python class."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from spokeshave.errors import SpokeshaveError

TENSOR = "tensor"


@dataclass(frozen=True)
class Place:
    """Where an output has its batch: `axis`, or None where it stays in front.

    `extra`: whether its value has one axis more than the network's tensor (`Flow.unbatched`).
    """

    axis: int | None
    extra: bool = False

    @property
    def in_front(self) -> bool:
        """Whether the value has its batch where the network has it."""
        return self.axis == 0 and not self.extra

    def put(self, value: Tensor) -> Tensor:
        """A value `[samples, ...]` as the network gives it.

        >>> Place(1, extra=True).put(Tensor(3, 2, 1, 24)).shape
        torch.Size([2, 3, 24])
        """
        if self.axis is None or self.in_front:
            return value
        apart = value if self.extra else value.unsqueeze(1)
        return apart.movedim(0, self.axis).flatten(self.axis, self.axis + 1)


@dataclass(frozen=True)
class OutputStructure:
    """How outputs are nested, in the order of torch's pytrees.

    `layout` is "tensor", {"constant": value}, {"tuple": [layout, ...]}, {"list": [layout, ...]} or
    {"dict": [[key, layout], ...]}; named tuples become tuples, dataclasses and `transformers`' outputs dictionaries,
    its caches of past keys tuples of their parts, which a deployment takes in place of a cache.
    `places` says for each tensor where the network has its batch; empty where that is in front of all.
    """

    layout: Any
    places: tuple["Place", ...] = ()

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "OutputStructure":
        """Read what `to_json` wrote."""
        return cls(document["layout"], tuple(Place(**place) for place in document["places"]))

    def to_json(self) -> dict[str, Any]:
        """A JSON-able document."""
        return {"layout": self.layout, "places": [asdict(place) for place in self.places]}

    def build(self, tensors: Sequence[Tensor]) -> Any:
        """Nest a flat list of tensors, each with its samples in front; they are put where the network has them.

        >>> OutputStructure({"dict": [["a", "tensor"], ["b", {"list": ["tensor", {"constant": 2}]}]]}).build([1, 2])
        {'a': 1, 'b': [2, 2]}
        """
        if self._as_they_are:
            return tensors[0]
        if self.places:
            tensors = [place.put(tensor) for place, tensor in zip(self.places, tensors, strict=True)]
        return _nest(self.layout, iter(tensors))

    @cached_property
    def _as_they_are(self) -> bool:
        """Whether the network gives one tensor, its samples in front."""
        return self.layout == TENSOR and all(place.in_front for place in self.places)

    def names(self) -> list[str]:
        """A name for each tensor, in order: the path to it.

        >>> OutputStructure({"dict": [["a", "tensor"], ["b", {"list": ["tensor", {"constant": 2}]}]]}).names()
        ['output.a', 'output.b.0']
        """
        return _paths(self.layout, "output")


@dataclass(frozen=True)
class _Leaf:
    layout: Any


def structure_of(
    specification: pytree.TreeSpec, leaves: Sequence[Any], places: Sequence[Place] = ()
) -> OutputStructure:
    """The structure of an exported program's outputs; a leaf is TENSOR or a constant that the network returns.

    Raises SpokeshaveError for containers that cannot be built again without their class.
    """
    marked = [_Leaf(TENSOR if leaf is TENSOR else {"constant": leaf}) for leaf in leaves]
    return OutputStructure(_describe(pytree.tree_unflatten(marked, specification)), tuple(places))


def _describe(outputs: Any) -> Any:
    if isinstance(outputs, _Leaf):
        return outputs.layout
    if isinstance(outputs, dict):
        return {"dict": [[key, _describe(value)] for key, value in outputs.items()]}
    if isinstance(outputs, tuple | list):
        return {"tuple" if isinstance(outputs, tuple) else "list": [_describe(entry) for entry in outputs]}
    if is_dataclass(outputs):
        named = [(field.name, getattr(outputs, field.name)) for field in fields(outputs)]
        return {"dict": [[name, _describe(value)] for name, value in named if value is not None]}
    raise SpokeshaveError(
        f"the network returns a {type(outputs).__name__}, which cannot be built again without its class; "
        "return tensors, tuples, lists, dictionaries or dataclasses"
    )


def _paths(layout: Any, path: str) -> list[str]:
    if layout == TENSOR:
        return [path]
    kind, content = next(iter(layout.items()))
    if kind == "constant":
        return []
    entries = content if kind == "dict" else enumerate(content)
    return [name for key, inner in entries for name in _paths(inner, f"{path}.{key}")]


def _nest(layout: Any, tensors: Iterator[Tensor]) -> Any:
    if layout == TENSOR:
        return next(tensors)
    ((kind, entries),) = layout.items()
    if kind == "constant":
        return entries
    if kind == "dict":
        return {key: _nest(entry, tensors) for key, entry in entries}
    nested = [_nest(entry, tensors) for entry in entries]
    return tuple(nested) if kind == "tuple" else nested
