"""Token reducers in a job: what a recipe asks for, where they come to stand, and how a network is trained with them.

A step's facts hold its reducers as plain data (`tokens`), so that a resumed run has the same, thresholds included.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.allocation.tokens import SHARES, Placement, TokenBudget, allocate_tokens, token_losses
from spokeshave.devices import Device, HostDevice
from spokeshave.devices.staircase import block_staircase
from spokeshave.errors import SpokeshaveError
from spokeshave.fit.logits import Logits
from spokeshave.fit.recipe import Recipe, Tokens
from spokeshave.methods import Session, TokenDistillation, TokenRatio, begin
from spokeshave.named import config_of
from spokeshave.plan import Plan, Rule
from spokeshave.tokens import Learned, Random, TokenReducer, TopK, calibrate_thresholds, insert, inserted_in
from spokeshave.tokens.blocks import find_blocks
from spokeshave.tokens.check import check_compiled
from spokeshave.tokens.decisions import successive
from spokeshave.tokens.insert import HANDLE, SELECTORS
from spokeshave.tokens.registry import DECISIONS, RESTS, SCORERS, reducer_of, reducer_to_dict

CALIBRATION = 512  # samples of the training data that thresholds are set by
PLACING = 256  # and those that places are chosen by

Reducers = Sequence[Mapping[str, Any]]


def check_tokens(recipe: Recipe, network: nn.Module, example: Tensor, device: Device) -> list[dict[str, Any]]:
    """The reducers of a recipe, as far as they are known before training; raises SpokeshaveError for what cannot be.

    The network is left as it was.
    """
    entries = recipe.tokens or ()
    if not entries:
        return []
    if not isinstance(device, HostDevice):
        raise SpokeshaveError(f"tokens: {device.name} is a model without token counts; fit tokens for host")
    if any(entry.limit is not None for entry in entries) and len(entries) > 1:
        raise SpokeshaveError("tokens: limit places all reducers; give it alone")
    limited = entries[0].limit is not None
    known = placed(entries, {_dense_blocks(network): 0.5} if limited else None)
    with standing(network, known, recipe.seed):
        check_compiled(inserted_in(network).reducers)
    if limited:
        token_budget(entries[0], network, example, device)
    return known


def placed(entries: Sequence[Tokens], placement: Placement | None = None) -> list[dict[str, Any]]:
    """The reducers that entries ask for, or a single one at all places of a `placement`; as plain data.

    Raises SpokeshaveError with the entry's position.
    """
    wanted = [(index, entry.before, entry.keep, entry) for index, entry in enumerate(entries)]
    if placement is not None:
        wanted = [(0, before, keep, entries[0]) for before, keep in placement.items()]
    share, found, ordered = 1.0, [], sorted(wanted, key=lambda one: one[1] or 0)
    for index, _, keep, _ in ordered:
        assert keep is not None
        if keep > share:
            raise SpokeshaveError(
                f"tokens.{index}.keep: {keep} is above the {share} of the reducer in front; shares are of all patches"
            )
        share = keep
    top_k = successive([keep for _, _, keep, _ in ordered if keep is not None])
    for (index, before, keep, entry), best in zip(ordered, top_k, strict=True):
        assert before is not None
        assert keep is not None
        try:
            found.append(_document(before, entry, keep, best))
        except SpokeshaveError as error:
            raise SpokeshaveError(f"tokens.{index}: {error}") from error
    if len({adaptive(one) for one in found}) > 1:
        raise SpokeshaveError("tokens: either all reducers decide by top_k, or none does")
    return found


def adaptive(reducer: Mapping[str, Any]) -> bool:
    """Whether images may keep different numbers of tokens."""
    return reducer["decision"]["name"] != "top_k"


def _document(before: int, entry: Tokens, keep: float, best: TopK) -> dict[str, Any]:
    scorer, rest = config_of("scorer", SCORERS, entry.scorer), config_of("rest", RESTS, entry.rest)
    setting = entry.decision or ("gumbel" if isinstance(scorer, Learned) else "top_k")
    given = dict(setting) if isinstance(setting, Mapping) else {"name": setting}
    for key in ("keep", "least"):
        if key in given:
            raise SpokeshaveError(f"the decision's {key} follows from the reducer's own keep; leave it out")
    own = {"keep": best.keep} if given.get("name") == "top_k" else {}
    decision = config_of("decision", DECISIONS, given | own)
    return {**reducer_to_dict(TokenReducer(before, scorer, decision, rest)), "keep": keep}


def put_in(network: nn.Module, reducers: Reducers, seed: int) -> None:
    """Leave a network with exactly these reducers; fresh selectors are those of the seed."""
    if HANDLE in network.__dict__:
        inserted_in(network).remove()
    if reducers:
        torch.manual_seed(seed)
        insert(network, [reducer_of(one) for one in reducers])


@contextmanager
def standing(network: nn.Module, reducers: Reducers, seed: int) -> Iterator[nn.Module]:
    """The network with these reducers while the block runs, and without any behind it."""
    put_in(network, reducers, seed)
    try:
        yield network
    finally:
        put_in(network, (), seed)


def at_random(reducers: Reducers, seed: int) -> list[dict[str, Any]]:
    """Reducers that keep as many tokens, any of them."""
    return [
        {
            **reducer_to_dict(TokenReducer(one["before"], Random(seed), best, reducer_of(one).rest)),
            "keep": one["keep"],
        }
        for one, best in zip(reducers, successive([one["keep"] for one in reducers]), strict=True)
    ]


def plan_beside(plan: Plan, network: nn.Module) -> Plan:
    """A plan that leaves a network's token selectors dense."""
    return Plan((Rule(f"{SELECTORS}.*", None), *plan.rules)) if hasattr(network, SELECTORS) else plan


def token_sessions(network: nn.Module, reducers: Reducers, teacher: nn.Module | None) -> list[Session]:
    """What training with reducers adds to the loss: the shares that stay, and the dense network's kept tokens."""
    sessions: list[Session] = []
    if any(adaptive(one) and one["scorer"]["name"] == "learned" for one in reducers):
        sessions.append(begin(TokenRatio(tuple(one["keep"] for one in reducers)), network, Plan(())))
    if teacher is not None and not any(reducer.stays for reducer in inserted_in(network).reducers):
        sessions.append(begin(TokenDistillation(teacher), network, Plan(())))
    return sessions


def calibrated(network: nn.Module, reducers: Reducers, batches: Any) -> list[dict[str, Any]]:
    """The same reducers by thresholds at which their shares stay on average over the first batches.

    Those by top-k are left alone.
    """
    if not all(adaptive(one) for one in reducers):
        return [dict(one) for one in reducers]
    shares = [one["keep"] for one in reducers]
    thresholds = calibrate_thresholds(network, first_samples(batches, CALIBRATION), shares)
    return [
        {**one, "decision": {"name": "threshold", "least": least}}
        for one, least in zip(reducers, thresholds, strict=True)
    ]


def token_budget(entry: Tokens, network: nn.Module, example: Tensor, device: Device) -> TokenBudget:
    """What the blocks may cost, by the staircase of the device; raises SpokeshaveError for a limit below the lowest."""
    assert entry.limit is not None
    blocks, dense = find_blocks(network), _dense_blocks(network)
    if len({block.stage for block in blocks}) > 1:
        raise SpokeshaveError(
            "tokens.limit: the network has several stages; give before and keep of each reducer"
        )
    with insert(network, TokenReducer(dense, decision=TopK(1.0))) as reduced:
        network.eval()(example)
        tokens, leading = int(reduced.counts[0, 0]), reduced.leading
    patches = tokens - leading
    counts = sorted({leading + TopK(share).count(patches) for share in SHARES})
    staircase = block_staircase(blocks[0].module, blocks[0].width, counts, device)
    whole = len(blocks) * staircase.at(tokens)
    budget = TokenBudget(entry.limit * whole, staircase, len(blocks), patches, leading, dense)
    if budget.limit < budget.least:
        raise SpokeshaveError(
            f"tokens.limit: {entry.limit} of the blocks' time cannot be met on {device.name}; the lowest is "
            f"{math.ceil(100 * budget.least / whole) / 100} ({staircase.kind})"
        )
    return budget


def by_staircase(entry: Tokens, network: nn.Module, budget: TokenBudget, batches: Any) -> dict[str, Any]:
    """Where reducers stand so that the blocks meet the budget; with the staircase that says so.

    What each place loses is judged with class attention where the scorer has yet to learn.
    """
    scorer = config_of("scorer", SCORERS, entry.scorer)
    judge = None if isinstance(scorer, Learned) else scorer
    losses = token_losses(budget, Logits(network), first_samples(batches, PLACING), judge)
    placement = allocate_tokens(budget, losses)
    whole = budget.blocks * budget.block.at(budget.patches + budget.leading)
    return {
        "tokens": placed([entry], placement),
        "staircase": asdict(budget.block),
        "blocks_seconds": {
            "all_tokens": whole,
            "limit": budget.limit,
            "expected": budget.seconds(placement),
        },
    }


def first_samples(batches: Any, samples: int) -> list[Tensor]:
    """Inputs of the first batches that hold so many samples together, or of all."""
    found: list[Tensor] = []
    for inputs, _ in batches:
        found.append(inputs)
        if sum(len(one) for one in found) >= samples:
            break
    return found


def _dense_blocks(network: nn.Module) -> int:
    """How many blocks in front keep all tokens: a quarter, as the papers' three of twelve."""
    return max(1, len(find_blocks(network)) // 4)
