"""Schemes from and to dictionaries."""

import pytest
from tests.schemes.examples import EVERY

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.registry import SCHEMES, scheme_from_dict, scheme_to_dict
from spokeshave.schemes.scheme import Scheme


@pytest.mark.parametrize("scheme", EVERY)
def test_round_trip(scheme) -> None:
    assert scheme_from_dict(scheme_to_dict(scheme)) == scheme


def test_every_scheme_is_one_and_says_what_it_is() -> None:
    assert {type(scheme) for scheme in EVERY} == set(SCHEMES.values())
    assert all(isinstance(scheme, Scheme) for scheme in EVERY)
    assert all(kind.__doc__ for kind in SCHEMES.values())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sparsity": 0.5}, "no scheme None; known schemes are unstructured, block_column_row"),
        ({"scheme": "circles"}, "no scheme 'circles'; known schemes are unstructured, block_column_row"),
        ({"scheme": ["unstructured"]}, "no scheme"),
        ("unstructured", "a scheme is written as a name and its fields, not as 'unstructured'"),
        ({"scheme": "unstructured"}, "unstructured needs a sparsity"),
        (
            {"scheme": "unstructured", "block": 4},
            "unstructured has no field 'block'; its fields are sparsity",
        ),
        ({"scheme": "block_column_row", "sparsity": "0.5"}, "sparsity must be a number in"),
        ({"scheme": "block_column_row", "sparsity": 0.5, "block": [4]}, "block must be two positive"),
    ],
)
def test_mistakes(entry, message) -> None:
    with pytest.raises(SpokeshaveError, match=message):
        scheme_from_dict(entry)
