"""What a block costs by the tokens it works on: a table, taken on a device, not a formula."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class Staircase:
    """`seconds` of one block at rising `counts` of tokens; `kind` says whether they are measured or modelled.

    Costs never fall with more tokens: what a noisy measurement says otherwise is levelled to the greatest before.

    >>> block = Staircase((10, 20, 30), (1.0, 0.9, 2.0), "modelled")
    >>> block.seconds, block.at(25), block.at(5)
    ((1.0, 1.0, 2.0), 1.5, 0.5)
    """

    counts: tuple[int, ...]
    seconds: tuple[float, ...]
    kind: str = "measured"

    def __post_init__(self) -> None:
        if (
            not self.counts
            or len(self.counts) != len(self.seconds)
            or sorted(set(self.counts)) != list(self.counts)
        ):
            raise SpokeshaveError("a staircase needs rising token counts, and seconds for each of them")
        wrong = [
            *(count for count in self.counts if not isinstance(count, int) or count < 1),
            *(seconds for seconds in self.seconds if not 0 < seconds < math.inf),
        ]
        if wrong:
            raise SpokeshaveError(
                f"a staircase has whole token counts from 1 on, and seconds above 0; {wrong[0]!r} is none"
            )
        levelled = [max(self.seconds[: index + 1]) for index in range(len(self.seconds))]
        object.__setattr__(self, "seconds", tuple(levelled))

    @classmethod
    def of(cls, table: Mapping[int, float], kind: str = "measured") -> "Staircase":
        """From seconds by token count, in any order."""
        counts = tuple(sorted(table))
        return cls(counts, tuple(table[count] for count in counts), kind)

    def at(self, tokens: float) -> float:
        """Seconds at a number of tokens: between measured counts on a line, outside in proportion."""
        counts, seconds = self.counts, self.seconds
        if tokens <= counts[0]:
            return tokens * seconds[0] / counts[0]
        if tokens >= counts[-1]:
            return tokens * seconds[-1] / counts[-1]
        right = bisect_right(counts, tokens)
        share = (tokens - counts[right - 1]) / (counts[right] - counts[right - 1])
        return seconds[right - 1] + share * (seconds[right] - seconds[right - 1])

    def expected(self, tokens: Tensor) -> Tensor:
        """The same for a tensor of mean counts, with gradients."""
        counts = torch.tensor(self.counts, dtype=tokens.dtype, device=tokens.device)
        seconds = torch.tensor(self.seconds, dtype=tokens.dtype, device=tokens.device)
        right = torch.searchsorted(counts, tokens.detach().contiguous()).clamp(1, max(1, len(counts) - 1))
        if len(counts) == 1:
            return tokens * (seconds[0] / counts[0])
        left = right - 1
        slope = (seconds[right] - seconds[left]) / (counts[right] - counts[left])
        between = seconds[left] + (tokens - counts[left]) * slope
        outside = torch.where(
            tokens < counts[0], tokens * (seconds[0] / counts[0]), tokens * (seconds[-1] / counts[-1])
        )
        return torch.where((tokens < counts[0]) | (tokens > counts[-1]), outside, between)
