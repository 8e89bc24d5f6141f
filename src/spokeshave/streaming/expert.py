"""One expert in memory: what flows into its matrices, which weights it loses, and what it then gives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.criteria import InputSquares
from spokeshave.streaming.checkpoint import Checkpoint
from spokeshave.streaming.experts import ExpertPlaces
from spokeshave.streaming.settings import ExpertPruning
from spokeshave.streaming.states import States
from spokeshave.streaming.tensor_file import TensorWriter

TOKENS = 512  # that go through an expert at a time
ROWS = 512  # of a matrix that are pruned at a time
Saliency = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class Routed:
    """The tokens of one expert `[n]`, ascending, their gates `[n]`, and all tokens' states as experts read them."""

    tokens: Tensor
    gates: Tensor
    normed: States

    def blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Tokens, gates and states of some tokens at a time."""
        for tokens, gates in zip(self.tokens.split(TOKENS), self.gates.split(TOKENS), strict=True):
            if len(tokens):
                yield tokens, gates, self.normed.rows(tokens)


@dataclass(frozen=True)
class Expert:
    """A SwiGLU expert in float32: `gate`, `up` `[intermediate, hidden]`, `down` `[hidden, intermediate]`."""

    gate: Tensor
    up: Tensor
    down: Tensor
    activation: Callable[[Tensor], Tensor]

    @classmethod
    def read(cls, checkpoint: Checkpoint, places: ExpertPlaces) -> "Expert":
        """Read an expert."""
        gate, up, down = (place.read(checkpoint) for place in places)
        return cls(gate, up, down, checkpoint.activation())

    def write(self, writer: TensorWriter, places: ExpertPlaces) -> None:
        """Write it to where it was read from, in a new file."""
        for place, matrix in zip(places, self.matrices, strict=True):
            place.write(writer, matrix)

    @property
    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Its weights, in the order of `ExpertPlaces`."""
        return self.gate, self.up, self.down

    @property
    def density(self) -> float:
        """Fraction of the weights that are not zero."""
        kept = sum(int(matrix.count_nonzero()) for matrix in self.matrices)
        return kept / sum(matrix.numel() for matrix in self.matrices)

    def intermediate(self, states: Tensor) -> Tensor:
        """`[tokens, intermediate]`: what `down` reads."""
        return self.activation(F.linear(states, self.gate)).mul_(F.linear(states, self.up))

    def prune(self, settings: ExpertPruning, routed: Routed | None, key: str) -> bool:
        """Set weights to zero; `key` tells experts apart for random numbers. Returns whether inputs had a say."""
        by_inputs = routed is not None and len(routed.tokens) >= settings.token_floor
        saliencies: tuple[Saliency, ...]
        if routed is not None and by_inputs:
            hidden, middle = self._squares(routed, weighted=settings.criterion == "moe_pruner")
            saliencies = (hidden.saliency, hidden.saliency, middle.saliency)
        elif settings.criterion == "random":
            numbers = torch.Generator().manual_seed(_seed(f"{settings.seed} {key}"))
            saliencies = (lambda rows: torch.rand(rows.shape, generator=numbers),) * 3
        else:
            saliencies = (lambda rows: None,) * 3
        for matrix, saliency in zip(self.matrices, saliencies, strict=True):
            _prune(matrix, settings, saliency)
        return by_inputs

    @torch.no_grad()
    def contribute(self, routed: Routed, outputs: States) -> None:
        """Add what the expert gives, times the gates, to the states of its tokens."""
        for tokens, gates, states in routed.blocks():
            given = F.linear(self.intermediate(states), self.down)
            outputs.add(tokens, given.mul_(gates[:, None]))

    @torch.no_grad()
    def _squares(self, routed: Routed, weighted: bool) -> tuple[InputSquares, InputSquares]:
        """Of the states that `gate` and `up` read, and of those that `down` reads."""
        hidden, middle = InputSquares(self.gate.shape[1]), InputSquares(self.down.shape[1])
        for _, gates, states in routed.blocks():
            hidden.add(states, gates if weighted else None)
            middle.add(self.intermediate(states), gates if weighted else None)
        return hidden, middle


def _prune(matrix: Tensor, settings: ExpertPruning, saliency: Saliency) -> None:
    scheme = settings.row_scheme(matrix.shape[1])
    for rows in matrix.split(ROWS):
        rows.copy_(scheme.project(rows, saliency(rows)))


def _seed(key: str) -> int:
    return int.from_bytes(sha256(key.encode()).digest()[:4], "big")
