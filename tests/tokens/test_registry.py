"""Reducers as plain data, there and back."""

import json

import pytest

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens import (
    CLSAttention,
    Drop,
    Freeze,
    Gumbel,
    Learned,
    Package,
    Random,
    ReceivedAttention,
    Threshold,
    TokenReducer,
    TopK,
    Zero,
)
from spokeshave.tokens.registry import reducer_of, reducer_to_dict


@pytest.mark.parametrize("scorer", [CLSAttention(), ReceivedAttention(), Learned(4, shared=True), Random(3)])
@pytest.mark.parametrize("decision", [TopK(0.3), Threshold(0.1)])
@pytest.mark.parametrize("rest", [Drop(), Package(single=True), Freeze(), Zero()])
def test_there_and_back(scorer, decision, rest):
    reducer = TokenReducer(2, scorer, decision, rest)
    assert reducer_of(json.loads(json.dumps(reducer_to_dict(reducer)))) == reducer


def test_names_alone_are_the_defaults():
    document = {"before": 1, "scorer": "learned", "decision": "gumbel", "rest": "drop"}
    assert reducer_of(document) == TokenReducer(1, Learned(), Gumbel(), Drop())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"scorer": "given"},
            "no scorer 'given'; known ones are class_attention, received_attention, learned, random",
        ),
        ({"decision": "top_k"}, "the decision top_k needs keep: write {name: top_k, keep: ...}"),
        (
            {"rest": {"name": "package", "one": True}},
            "the rest package has no setting 'one'; its settings are single",
        ),
    ],
)
def test_mistakes(change, sentence):
    document = {"before": 1, "scorer": "learned", "decision": "gumbel", "rest": "drop"}
    with pytest.raises(SpokeshaveError, match=sentence):
        reducer_of(document | change)
