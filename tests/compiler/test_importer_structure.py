"""Outputs keep their nesting through JSON, without the network's classes."""

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch.utils import _pytree as pytree

from spokeshave.compiler.importer import OutputStructure
from spokeshave.compiler.importer.structure import TENSOR, structure_of
from spokeshave.errors import SpokeshaveError

Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Detections:
    boxes: torch.Tensor
    scores: torch.Tensor


class Opaque:
    def __init__(self, inside):
        self.inside = inside


torch.export.register_dataclass(Detections)
pytree.register_pytree_node(
    Opaque, lambda x: ([x.inside], None), lambda v, _: Opaque(v[0]), serialized_type_name="test.Opaque"
)


def through_json(outputs):
    leaves, specification = pytree.tree_flatten(outputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    marked = [TENSOR if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    structure = structure_of(specification, marked)
    return OutputStructure.from_json(json.loads(json.dumps(structure.to_json()))).build(tensors)


A, B, C = torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)


@pytest.mark.parametrize(
    "outputs",
    [
        A,
        (A,),
        [A, (B, C)],
        {"a": A, "b": [B]},
        (A, None, {"x": B}),
        (3, "text", A),
        {5: A},
        OrderedDict(z=A, a=B),
    ],
)
def test_plain_containers_come_back(outputs):
    assert through_json(outputs) == outputs


def test_named_tuples_and_dataclasses_come_back_as_plain_containers():
    assert through_json(Pair(A, [B])) == (A, [B])
    assert through_json(Detections(A, B)) == {"boxes": A, "scores": B}


def test_a_container_that_needs_its_class_is_refused():
    with pytest.raises(SpokeshaveError, match="returns a Opaque"):
        through_json((A, Opaque(B)))
