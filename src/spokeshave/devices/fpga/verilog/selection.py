"""Token selection as HeatViT's control does it (arXiv 2211.08110): kept tokens move together, the rest become one.

A token whose score reaches the threshold is written behind the one kept before it, and so is always the first, the
class token. Of the others the mean weighted by their scores comes behind the last, so that what follows reads a dense,
shorter matrix. Everything is whole numbers: scores are bytes, of which 0 weighs as 1, so that a mean is always defined.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.devices.fpga.verilog.module import Module, Port, bits_for, clock, written

QUOTIENT_BITS = 8


@dataclass(frozen=True)
class Selected:
    """`kept`: numbers of the tokens that stay; `tokens` `[kept, width]`, and `[kept + 1, width]` with a package."""

    kept: Tensor
    tokens: Tensor


def select_tokens(scores: Tensor, tokens: Tensor, threshold: int) -> Selected:
    """What the control makes of scores `[tokens]`, 0 to 255, and int8 tokens `[tokens, width]`.

    >>> select_tokens(torch.tensor([0, 200, 30, 10]), torch.tensor([[1], [2], [8], [4]]), 128).tokens.flatten()
    tensor([1, 2, 7])
    """
    keeps = scores >= threshold
    keeps[0] = True
    kept = tokens[keeps].long()
    if bool(keeps.all()):
        return Selected(keeps.nonzero().flatten(), kept)
    weights = scores[~keeps].long().clamp(min=1)
    sums, total = weights @ tokens[~keeps].long(), weights.sum()
    package = sums.sign() * ((2 * sums.abs() + total) // (2 * total))
    return Selected(keeps.nonzero().flatten(), torch.cat((kept, package[None])))


def token_selector(columns: int, words: int, tokens: int) -> Module:
    """The control for tokens of so many words, each of `columns` bytes a cycle; `tokens` is the most there may be.

    A token's score stands beside all its words, and `last_token` beside those of the last one. `written_word` goes to
    `address` where `written`; `index` is the token's number.
    """
    token_bits = bits_for(tokens + 1)
    weight = 8 + token_bits
    numbers = {
        "COLUMNS": columns,
        "WORDS": words,
        "LAST_WORD": words - 1,
        "WORD_BITS": bits_for(words),
        "TOKEN_BITS": token_bits,
        "ADDRESS_BITS": bits_for((tokens + 1) * words),
        "WEIGHT": weight,
        "SUM": weight + QUOTIENT_BITS + 1,
        "STEP_BITS": bits_for(QUOTIENT_BITS + 1),
        "FIRST_STEP": QUOTIENT_BITS,
    }
    ports = (
        clock(),
        Port("reset", 1),
        Port("threshold", 8),
        Port("token_valid", 1),
        Port("last_token", 1),
        Port("score", 8),
        Port("x", 8 * columns),
        Port("written", 1, "output"),
        Port("is_package", 1, "output"),
        Port("index", token_bits, "output"),
        Port("address", numbers["ADDRESS_BITS"], "output", register=True),
        Port("written_word", 8 * columns, "output", signed=True, numbers=columns),
    )
    return written("token_selector", "token_selector", ports, numbers)
