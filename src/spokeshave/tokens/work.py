"""Multiply-adds of blocks and selectors by the tokens they work on."""

from torch import Tensor

from spokeshave.tokens.insert import Inserted
from spokeshave.tokens.selector import linear_weights


def realised_work(reduced: Inserted) -> tuple[Tensor, Tensor]:
    """Multiply-adds of the last pass's samples, `[N]` each: of all blocks, and of the selectors.

    A block's are those of its linear layers, and of attention: two products over all pairs of tokens, or over those in
    one window, where tokens that take no part count as spread evenly over the windows (which mask, and save nothing).
    """
    counts, blocks = reduced.counts.double(), reduced.blocks
    work = counts.new_zeros(counts.shape[1])
    for number, (tokens, block) in enumerate(zip(counts, blocks, strict=True)):
        read = tokens if block.window is None else block.window**2 * tokens / _everybody(reduced, number)
        work += tokens * (linear_weights(block.module) + 2 * read * block.width)
    spent = counts.new_zeros(counts.shape[1])
    for reducer, kept in zip(reduced.reducers, reduced.kept, strict=True):
        place = reducer.before
        selector = reduced.selectors.get(place)
        if selector is None:
            continue
        opens_stage = place == 0 or blocks[place - 1].stage != blocks[place].stage
        scored = kept.shape[1] if opens_stage else counts[place - 1] - reduced.leading
        spent += scored * selector.work
    return work, spent


def _everybody(reduced: Inserted, block: int) -> float:
    """How many tokens a block's stage has without reducers."""
    stage = reduced.blocks[block].stage
    for reducer, kept in zip(reduced.reducers, reduced.kept, strict=True):
        if reduced.blocks[reducer.before].stage == stage:
            return kept.shape[1] + reduced.leading
    return float(reduced.counts[block, 0])
