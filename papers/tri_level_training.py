"""Trainings that go on side by side, step by step, each with levels of Tri-Level E-ViT of its own."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.image_transformer import Shape, fresh, multiply_adds, optimizer
from spokeshave.data import Batches
from spokeshave.methods.schedule import one_cycle
from spokeshave.methods.training import epoch_seed, set_rate
from spokeshave.samples import (
    ExamplePruning,
    ExampleSampler,
    KeepSchedule,
    LinkPruning,
    PrunedLinks,
    PrunedLoader,
    ScheduledTokens,
    prune_links,
)

SHAPE = Shape(width=48, heads=2, channels=1, side=28, convolutions=True)  # MNIST's images, 49 patches
KEEP_EXAMPLES, KEEP_TOKENS, KEEP_LINKS = 0.8, 0.5, 0.5
PLACES = (2,)  # of 4 blocks, where the class token has looked twice
CHOOSING = 1  # the block whose attention says which links those behind it keep
RATE = 2e-3
STRIDE = 4  # of the patches that are asked which links stay
LEVELS = ("examples", "tokens", "links")


@dataclass
class Trainee:
    """A network being trained; seconds of the process and multiply-adds, selection included, as they add up."""

    network: nn.Module
    loader: Batches | PrunedLoader
    epochs: int
    seed: int
    tokens: ScheduledTokens | None
    links: PrunedLinks | None
    seconds: float = 0.0
    work: int = 0
    used: list[int] = field(default_factory=list)

    def run(self) -> Iterator[float]:
        """Train; after every step, how much of the training is done."""
        steps, step, moving = self.epochs * len(self.loader), 0, optimizer(self.network, RATE)
        self.network.train()
        for epoch in range(self.epochs):
            torch.manual_seed(epoch_seed(self.seed, epoch))
            shown = 0
            for images, labels in self.loader:
                self._set_shares(step, steps)
                set_rate(moving, one_cycle(step, steps))
                scores = self.network(images)
                moving.zero_grad()
                F.cross_entropy(scores, labels).backward()
                moving.step()
                self._count(scores, labels)
                step, shown = step + 1, shown + len(labels)
                yield step / steps
            self.used.append(shown)
            if isinstance(self.loader, PrunedLoader):
                self.loader.after_epoch()
        self._set_shares(steps, steps)

    def _set_shares(self, step: int, steps: int) -> None:
        if self.tokens is not None:
            self.tokens.at(step, steps)
        if self.links is not None:
            self.links.keep = KeepSchedule(KEEP_LINKS)(step, steps)

    def _count(self, scores: Tensor, labels: Tensor) -> None:
        if isinstance(self.loader, PrunedLoader):
            self.loader.after_batch(scores, labels)
        tokens = (
            [SHAPE.patches + 1] * SHAPE.blocks
            if self.tokens is None
            else [int(each) for each in self.tokens.inserted.counts[:, 0]]
        )
        keys = tokens if self.links is None else self.links.keys
        chosen = 0 if self.links is None else SHAPE.patches // STRIDE * tokens[CHOOSING] * SHAPE.width
        self.work += len(labels) * (3 * multiply_adds(SHAPE, tokens, keys) + chosen)


def trainee(images: Batches, levels: frozenset[str], epochs: int, seed: int) -> Trainee:
    """One that is about to begin; all of a seed have the same first weights."""
    loader: Batches | PrunedLoader = images
    if "examples" in levels:
        pruning = ExamplePruning(KEEP_EXAMPLES, 1 - KEEP_EXAMPLES, every=1, last=epochs - 1, score="loss")
        loader = PrunedLoader(images, ExampleSampler(len(images.labels), pruning, epochs, seed))
    network = fresh(seed, SHAPE)
    tokens = ScheduledTokens(network, PLACES, KeepSchedule(KEEP_TOKENS)) if "tokens" in levels else None
    alive = None if tokens is None else tokens.alive
    links = (
        prune_links(network, LinkPruning(1.0, after=(CHOOSING,), stride=STRIDE), alive)
        if "links" in levels
        else None
    )
    return Trainee(network, loader, epochs, seed, tokens, links)


def side_by_side(trainees: Mapping[str, Trainee]) -> None:
    """Train all, always the one that is furthest behind, so that whatever disturbs the machine disturbs all alike."""
    runs = {name: each.run() for name, each in trainees.items()}
    done = dict.fromkeys(runs, 0.0)
    while runs:
        name = min(runs, key=lambda each: done[each])
        began = time.process_time()
        progress = next(runs[name], None)
        trainees[name].seconds += time.process_time() - began
        if progress is None:
            del runs[name]
        else:
            done[name] = progress
