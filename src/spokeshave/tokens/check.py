"""Which reducers fit which network, and one sentence for those that do not."""

from collections.abc import Sequence

from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.blocks import Block, reads_patches
from spokeshave.tokens.reducer import TokenReducer
from spokeshave.tokens.scorers import ATTENTION, CLSAttention, Learned


def check_reducers(
    network: nn.Module, reducers: Sequence[TokenReducer], blocks: Sequence[Block], leading: int
) -> None:
    """Raise SpokeshaveError for the first reducer (in order) that the network cannot have."""
    if not reducers:
        raise SpokeshaveError("give at least one TokenReducer")
    places = [reducer.before for reducer in reducers]
    for place in places:
        if place >= len(blocks):
            number = f"{len(blocks)} block{'s' if len(blocks) > 1 else ''}"
            raise SpokeshaveError(
                f"TokenReducer before block {place}: the network has {number}, 0 to {len(blocks) - 1}"
            )
        if places.count(place) > 1:
            raise SpokeshaveError(f"two TokenReducers stand before block {place}; one is enough")
    if len({reducer.stays for reducer in reducers}) > 1:
        raise SpokeshaveError(
            "tokens either stay in place (Freeze, Zero) or leave (Drop, Package); the reducers of a network must agree"
        )
    name = type(network).__name__
    for reducer in reducers:
        _check_scorer(name, reducer, blocks, leading)
        if not reducer.stays:
            _check_leaving(name, reducer, blocks, leading)
    if not reducers[0].stays and reads_patches(network):
        raise SpokeshaveError(
            f"{name} takes the mean over patches, so that masked and gathered tokens would differ; use Freeze() or "
            "Zero(), or a head that reads the class token alone"
        )


def check_compiled(reducers: Sequence[TokenReducer]) -> None:
    """Raise SpokeshaveError for the first reducer (in order) that runs in PyTorch alone."""
    adaptive: TokenReducer | None = None
    for place, reducer in enumerate(reducers):
        where = f"TokenReducer before block {reducer.before}"
        if place and isinstance(reducer.scorer, Learned) and reducer.scorer.dither > 0:
            raise SpokeshaveError(
                f"{where}: a dither goes by patches' places, which are not known in compiled networks behind the "
                f"reducer before block {reducers[place - 1].before}; use Learned() without dither here"
            )
        if adaptive is not None and isinstance(reducer.scorer, ATTENTION):
            raise SpokeshaveError(
                f"{where}: {type(reducer.scorer).__name__}() is compiled where all images have equally many tokens, "
                f"and the reducer before block {adaptive.before} leaves another number of every image; let that one "
                "decide by TopK(keep), or score by Learned() here"
            )
        adaptive = reducer if reducer.adaptive else adaptive


def _check_scorer(network: str, reducer: TokenReducer, blocks: Sequence[Block], leading: int) -> None:
    where, scorer = f"TokenReducer before block {reducer.before}", type(reducer.scorer).__name__
    block = blocks[reducer.before]
    if isinstance(reducer.scorer, CLSAttention) and (leading == 0 or block.windowed):
        reason = (
            "attends inside windows" if block.windowed else "has no class token (tell with class_tokens=)"
        )
        raise SpokeshaveError(
            f"{where}: {network} {reason}; score by ReceivedAttention(), Learned(), Random() or Given()"
        )
    if isinstance(reducer.scorer, ATTENTION) and blocks[reducer.before - 1].stage != block.stage:
        raise SpokeshaveError(
            f"{where}: {block.name!r} is the first block of its stage, and {scorer} needs attention over the same "
            "tokens; choose the block behind it"
        )


def _check_leaving(network: str, reducer: TokenReducer, blocks: Sequence[Block], leading: int) -> None:
    where, rest = f"TokenReducer before block {reducer.before}", type(reducer.rest).__name__
    block = blocks[reducer.before]
    if block.windowed:
        raise SpokeshaveError(
            f"{where}: {network} attends inside windows, which need whole maps; use Freeze() or Zero(), which mask"
        )
    if block.biased:
        raise SpokeshaveError(
            f"{where}: {block.name!r} adds a bias for every pair of places, so that all tokens must be there; use "
            "Freeze() or Zero(), which mask"
        )
    if leading == 0:
        raise SpokeshaveError(
            f"{where}: {rest}() is for networks that read a class token, and none was found in {network}; "
            "tell with class_tokens=, or use Freeze() or Zero()"
        )
    if block.stage != blocks[-1].stage:
        raise SpokeshaveError(
            f"{where}: tokens of {block.name!r} are pooled before the last stage and must stay in place; use Freeze() "
            "or Zero(), or a block of the last stage"
        )
