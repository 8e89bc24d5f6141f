"""How networks with token reducers are trained in the checks: selectors taught apart, then all by their choices."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.image_attention import quick_attention
from papers.relative_rates import relative_adamw, split_parameters
from spokeshave.allocation.tokens import reducers_of
from spokeshave.data import Data
from spokeshave.methods import Distillation, Session, Together, TokenDistillation, TokenRatio, begin, train
from spokeshave.plan import Plan
from spokeshave.tokens import (
    CLSAttention,
    Drop,
    Gumbel,
    Inserted,
    Learned,
    Package,
    Random,
    TokenReducer,
    TopK,
    calibrate_thresholds,
    insert,
)
from spokeshave.tokens.blocks import find_blocks
from spokeshave.tokens.decisions import successive
from spokeshave.tokens.insert import SELECTORS

NOTHING = Plan(())
SECOND_PHASE = 1_000  # what its seeds are ahead
WARM_BATCH = 128
CALIBRATION = 500  # samples of the training data that thresholds are set by


@dataclass(frozen=True)
class Recipe:
    """Where tokens leave, what share of all patches is aimed at behind each place, and how the network is trained.

    The selectors' learning rate is `rate`, the network's `network_rate`; it is one cycle of AdamW over all epochs, and
    another over the last of them, `settling`, in which selectors decide by thresholds: samples drawn by Gumbel noise
    are spread over all patches, what a threshold keeps is not, and a network must have seen that. `tokens` is the
    strength of the kept tokens' distillation. Before all that selectors are taught apart for `warm_steps` on
    `warm_samples`, by the class attention of blocks from `taught_from` on. `narrow` ones have HeatViT's features, and
    a `dither` spreads what they keep. With `gathered` selectors stay as they were taught, and the network is trained
    by their best scores, equally many of every sample: what leaves is not computed. With `relative` the network's
    tensors have `relative_rates`; with `bfloat16` training computes in it.
    """

    places: tuple[int, ...]
    keep: tuple[float, ...]
    heads: int
    epochs: int
    rate: float = 2e-3
    network_rate: float = 1e-4
    tokens: float = 0.5
    warm_steps: int = 0
    warm_samples: int = 75
    taught_from: int = 0
    settling: int = 0
    narrow: bool = False
    dither: float = 0.0
    gathered: bool = False
    relative: bool = False
    bfloat16: bool = False

    @property
    def precision(self) -> torch.dtype:
        """In which training computes."""
        return torch.bfloat16 if self.bfloat16 else torch.float32

    def phases(self, seed: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Epochs and seed of the training with noise and of the one without."""
        return (self.epochs - self.settling, seed), (self.settling, seed + SECOND_PHASE)

    def learned(self, packages: bool = True) -> list[TokenReducer]:
        """A selector at each place."""
        rest = Package() if packages else Drop()
        scorer = Learned(self.heads, narrow=self.narrow, dither=self.dither)
        return [TokenReducer(place, scorer, Gumbel(), rest) for place in self.places]

    def fixed(self, counts: Sequence[float], scorer: CLSAttention | Random) -> list[TokenReducer]:
        """As many patches, packages included, for every sample as another kept on average behind each place.

        `counts` begin with all patches; shares are rounded up.
        """
        falling = accumulate((count / counts[0] for count in counts[1:]), min)
        return reducers_of(dict(zip(self.places, falling, strict=True)), scorer, Drop())


def fit_selectors(
    network: nn.Module, reduced: Inserted, dense: nn.Module, data: Data, recipe: Recipe, seed: int
) -> None:
    """Train a network with reducers in place, by labels, the dense network's scores and tokens, and the shares."""
    sessions: list[Session] = [begin(Distillation(dense, 0.5, 1.0), network, NOTHING)]
    if recipe.tokens:
        sessions.append(begin(TokenDistillation(dense, recipe.tokens), network, NOTHING))
    learning = reduced.selectors and not recipe.gathered
    if learning:
        sessions.append(begin(TokenRatio(recipe.keep), network, NOTHING))
    elif not recipe.tokens:  # tokens that leave need not be computed where nobody learns which
        reduced.form = "gathered"
    if reduced.selectors and recipe.gathered:
        for place, decision in zip(recipe.places, successive(recipe.keep), strict=True):
            reduced.decide(place, decision)
    session = Together(tuple(sessions))
    for phase in recipe.phases(seed):
        _train(network, data, recipe, session, phase)
        if learning:
            set_thresholds(network, reduced, data, recipe)
    session.finish()
    network.eval()
    reduced.form = None


def set_thresholds(network: nn.Module, reduced: Inserted, data: Data, recipe: Recipe) -> None:
    """Let selectors keep the recipe's shares; those of a network that is loaded are not among its weights."""
    if reduced.selectors:
        calibrate_thresholds(network, list(data.shortened(CALIBRATION).train), recipe.keep)


def warm_start(network: nn.Module, reduced: Inserted, dense: nn.Module, data: Data, recipe: Recipe) -> None:
    """Teach every selector, apart, which patches the dense network's class token attends to from its place on.

    The best of each sample by mean attention of the blocks behind, as many as `keep` says; a few hundred cheap steps
    stand for the papers' first epochs, in which the selectors alone are trained.
    """
    views = [
        _dense_view(dense, batch, recipe.places) for batch, _ in data.shortened(recipe.warm_samples).train
    ]
    attention = torch.cat([seen for _, seen in views])
    for (place, selector), share in zip(reduced.selectors.items(), recipe.keep, strict=True):
        wanted = attention[:, max(place, recipe.taught_from) :].mean(1)
        best = wanted.argsort(1, descending=True)[:, : round(share * wanted.shape[1])]
        labels = torch.zeros_like(wanted).scatter(1, best, 1.0)
        patches = torch.cat([states[place] for states, _ in views])[:, reduced.leading :]
        optimizer = torch.optim.Adam(selector.parameters(), 1e-2)
        for _ in range(recipe.warm_steps):
            some = torch.randperm(len(patches))[:WARM_BATCH]
            scores = selector(patches[some], None).clamp(1e-6, 1 - 1e-6)
            loss = F.binary_cross_entropy(scores, labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def _dense_view(dense: nn.Module, inputs: Tensor, places: Sequence[int]) -> tuple[dict[int, Tensor], Tensor]:
    """Tokens in front of each place, and class attention of every block `[N, blocks - 1, patches]`."""
    watched, states = copy.deepcopy(dense).eval(), {}
    number = len(find_blocks(watched))
    keeping = [TokenReducer(block, CLSAttention(), TopK(1.0)) for block in range(1, number)]
    reduced = insert(watched, keeping)
    for place in places:
        module = reduced.blocks[place].module
        module.register_forward_pre_hook(lambda _, given, place=place: states.update({place: given[0]}))
    watched(inputs)
    return states, torch.stack(reduced.scores, 1)


def trained_as_long(network: nn.Module, dense: nn.Module, data: Data, recipe: Recipe, seed: int) -> None:
    """Train a copy of the dense network without reducers as those with reducers are trained."""
    session = begin(Distillation(dense, 0.5, 1.0), network, NOTHING)
    for phase in recipe.phases(seed):
        _train(network, data, recipe, session, phase)
    session.finish()


def _train(network: nn.Module, data: Data, recipe: Recipe, session: Session, phase: tuple[int, int]) -> None:
    epochs, seed = phase
    optimizer = _optimizer(network, recipe)
    with quick_attention(recipe.precision):
        train(
            network, data, epochs, optimizer=optimizer, session=session, seed=seed, precision=recipe.precision
        )


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    selectors, others = split_parameters(network, SELECTORS)
    groups = [{"params": selectors, "lr": recipe.rate}] if selectors and not recipe.gathered else []
    if recipe.relative:
        return relative_adamw(others, recipe.network_rate, *groups)
    own = {"params": others, "lr": recipe.network_rate}
    return torch.optim.AdamW([own, *groups], weight_decay=0.05, fused=True)
