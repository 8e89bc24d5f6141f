"""Images through the token selector: what its ports are given, and what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.devices.fpga.verilog.selection import QUOTIENT_BITS, Selected, token_selector
from spokeshave.devices.fpga.verilog.simulation import Simulator
from spokeshave.devices.fpga.verilog.vectors import run_vectors

Image = tuple[Tensor, Tensor]  # scores [tokens] of 0 to 255, int8 tokens [tokens, width]


@dataclass(frozen=True)
class Written:
    """What was written for an image, in order, and in which of its cycles the last word was."""

    selected: Selected
    packages: int
    in_order: bool
    cycles: int


def selection_cycles(tokens: int, words: int, dropped: int) -> int:
    """From the first word of an image to the last that is written: words one by one, then a division for each word.

    >>> selection_cycles(tokens=60, words=3, dropped=20), selection_cycles(tokens=60, words=3, dropped=0)
    (207, 180)
    """
    return tokens * words + (words * (QUOTIENT_BITS + 1) if dropped else 0)


def run_selection(
    images: Sequence[Image], threshold: int, columns: int, simulator: Simulator | None = None
) -> list[Written]:
    """Images, all of one width that is a multiple of `columns`, through one selector, a reset before each."""
    words = images[0][1].shape[1] // columns
    most = max(len(tokens) for _, tokens in images)
    made = run_vectors(
        token_selector(columns, words, most), selection_vectors(images, threshold, columns), simulator
    )
    starts = torch.cat(
        [torch.tensor([0]), torch.tensor([_period(image, words) for image in images]).cumsum(0)]
    )
    return [
        _written({name: values[first:last] for name, values in made.items()}, words, columns)
        for first, last in zip(starts.tolist(), starts.tolist()[1:], strict=False)
    ]


def selection_vectors(images: Sequence[Image], threshold: int, columns: int) -> dict[str, Tensor]:
    """What the ports are given, cycle by cycle; behind each image there is time for its divisions."""
    words = images[0][1].shape[1] // columns
    parts: dict[str, list[Tensor]] = {
        name: [] for name in ("reset", "token_valid", "last_token", "score", "x")
    }
    for image in images:
        scores, tokens = image
        period, busy = _period(image, words), len(tokens) * words
        place = torch.arange(period)
        shown = ((place - 1) // words).clamp(0, len(tokens) - 1)
        valid = (place > 0) & (place <= busy)
        parts["reset"].append((place == 0).long())
        parts["token_valid"].append(valid.long())
        parts["last_token"].append((valid & (shown == len(tokens) - 1)).long())
        parts["score"].append(scores.long()[shown])
        parts["x"].append(tokens.reshape(-1, columns).long()[(place - 1).clamp(0, busy - 1)])
    given = {name: torch.cat(each) for name, each in parts.items()}
    return given | {"threshold": torch.full_like(given["reset"], threshold)}


def _period(image: Image, words: int) -> int:
    return 1 + selection_cycles(len(image[1]), words, 1)


def _written(made: dict[str, Tensor], words: int, columns: int) -> Written:
    there = made["written"] == 1
    kept = made["index"][there & (made["is_package"] == 0)][::words]
    tokens = made["written_word"][there].reshape(-1, words * columns)
    addresses = made["address"][there]
    return Written(
        Selected(kept, tokens),
        int((made["is_package"] == 1).sum()) // words,
        addresses.tolist() == list(range(len(addresses))),
        int(there.nonzero().max()),  # cycle 0 is that of the reset
    )
