"""Multiply-adds of blocks and selectors by the tokens they work on."""

from torch import Tensor

from spokeshave.tokens.insert import Inserted
from spokeshave.tokens.selector import linear_weights


def realised_work(reduced: Inserted) -> tuple[Tensor, Tensor]:
    """Multiply-adds of the last pass's samples, `[N]` each: of all blocks, and of the selectors.

    A block's are those of its linear layers, and of attention (two products over all pairs of tokens).
    """
    counts, blocks = reduced.counts.double(), reduced.blocks
    work = counts.new_zeros(counts.shape[1])
    for tokens, block in zip(counts, blocks, strict=True):
        work += tokens * linear_weights(block.module) + 2 * tokens.square() * block.width
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
