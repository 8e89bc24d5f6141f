"""Token reducers by the names that recipes use, and as plain data."""

from collections.abc import Mapping
from typing import Any

from spokeshave.named import config_of, setting_of
from spokeshave.tokens.decisions import Gumbel, Threshold, TopK
from spokeshave.tokens.reducer import TokenReducer
from spokeshave.tokens.rest import Drop, Freeze, Package, Zero
from spokeshave.tokens.scorers import CLSAttention, Learned, Random, ReceivedAttention

SCORERS: dict[str, type[Any]] = {
    "class_attention": CLSAttention,
    "received_attention": ReceivedAttention,
    "learned": Learned,
    "random": Random,
}
DECISIONS: dict[str, type[Any]] = {"top_k": TopK, "threshold": Threshold, "gumbel": Gumbel}
RESTS: dict[str, type[Any]] = {"drop": Drop, "package": Package, "freeze": Freeze, "zero": Zero}
TABLES = {"scorer": SCORERS, "decision": DECISIONS, "rest": RESTS}


def reducer_of(document: Mapping[str, Any]) -> TokenReducer:
    """The reducer of a mapping: `before`, and `scorer`, `decision` and `rest` by name, or by name and settings.

    Raises SpokeshaveError naming what is wrong.

    >>> reducer_of({"before": 3, "scorer": "learned", "decision": "gumbel", "rest": "package"}).rest
    Package(single=False)
    """
    parts = {kind: config_of(kind, table, document[kind]) for kind, table in TABLES.items()}
    return TokenReducer(document["before"], **parts)


def reducer_to_dict(reducer: TokenReducer) -> dict[str, Any]:
    """The mapping that `reducer_of` reads back.

    >>> reducer_to_dict(TokenReducer(3))["decision"]
    {'name': 'top_k', 'keep': 0.7}
    """
    parts = {kind: setting_of(table, getattr(reducer, kind)) for kind, table in TABLES.items()}
    return {"before": reducer.before, **parts}
