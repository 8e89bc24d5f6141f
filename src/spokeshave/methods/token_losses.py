"""What training with token reducers adds to the loss: how many tokens stay, what they cost, what the kept ones hold.

SPViT (arXiv 2112.13890) and HeatViT (arXiv 2211.08110): `Together` a `TokenRatio`, a `Distillation` of scores and a
`TokenDistillation`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.methods.session import open_session
from spokeshave.methods.unconfined import Unconfined, check_teacher, taught
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_flag, check_share
from spokeshave.tokens import Inserted, inserted_in
from spokeshave.tokens.staircase import Staircase
from spokeshave.weights import check_network


@dataclass(frozen=True)
class TokenRatio:
    """Draw the share of patches that stays behind every reducer to `keep`, each of all patches.

    The penalty is `strength * mean over reducers of (mean over batch and patches of the mask - keep)^2`: single samples
    are free to differ. With `per_sample` each sample's own share is drawn there (DynamicViT).
    """

    keep: tuple[float, ...]
    strength: float = 2.0
    per_sample: bool = False

    def __post_init__(self) -> None:
        check_kind("TokenRatio: keep", self.keep, (tuple, list), "a share for each reducer, as (0.7, 0.4)")
        if not self.keep:
            raise SpokeshaveError("TokenRatio: keep are shares, one for each reducer, and there is none")
        for share in self.keep:
            check_share("TokenRatio", "each share of keep", share)
        if list(self.keep) != sorted(self.keep, reverse=True):
            raise SpokeshaveError(
                f"TokenRatio: keep are shares of all patches, so that none is above the one before; not {self.keep!r}"
            )
        check_above("TokenRatio", "strength", self.strength)
        check_flag("TokenRatio", "per_sample", self.per_sample)


@dataclass(frozen=True)
class TokenLatency:
    """Draw what the blocks cost together, by the staircase of a block, below `limit` seconds.

    The penalty is `strength * max(0, cost / limit - 1)^2`, of the mean number of tokens that each block works on.
    """

    block: Staircase
    limit: float
    strength: float = 2.0

    def __post_init__(self) -> None:
        check_kind("TokenLatency: block", self.block, Staircase, "a Staircase of one block")
        check_above("TokenLatency", "limit", self.limit)
        check_above("TokenLatency", "strength", self.strength)


@dataclass(frozen=True)
class TokenDistillation:
    """Draw what the last block makes of the tokens that stay to what the dense `teacher`'s makes of them.

    The penalty is `strength * mean squared difference` over kept patches and class tokens.
    """

    teacher: nn.Module
    strength: float = 0.5

    def __post_init__(self) -> None:
        check_network("TokenDistillation", self.teacher)
        check_above("TokenDistillation", "strength", self.strength)


class _Reads(Unconfined):
    """Sessions whose penalty is of the last forward pass."""

    needs = ("penalty",)
    reads_forward = True

    def __init__(self, network: nn.Module) -> None:
        self._reduced: Inserted = inserted_in(network)

    def finish(self) -> None:
        """Nothing to take off."""

    def _kept(self) -> tuple[Tensor, ...]:
        if not self._reduced.kept:
            raise SpokeshaveError(
                "kept tokens are counted after a forward pass in training mode; there was none"
            )
        if not self._reduced.learns:
            raise SpokeshaveError(
                "kept tokens are counted after a forward pass in training mode; in the last one the network's blocks "
                "were in evaluation mode; call network.train() before it"
            )
        return self._reduced.kept


class RatioSession(_Reads):
    """How far the shares are from what is wanted."""

    def __init__(self, method: TokenRatio, network: nn.Module) -> None:
        super().__init__(network)
        self._method = method
        if len(method.keep) != len(self._reduced.reducers):
            raise SpokeshaveError(
                f"TokenRatio: {len(method.keep)} shares for {len(self._reduced.reducers)} reducers; give one for each"
            )

    def penalty(self) -> Tensor:
        """The squared distances."""
        shares = [kept.mean(1) if self._method.per_sample else kept.mean() for kept in self._kept()]
        gaps = [
            (share - wanted).square().mean() for share, wanted in zip(shares, self._method.keep, strict=True)
        ]
        return self._method.strength * torch.stack(gaps).mean()


class LatencySession(_Reads):
    """How far the cost of all blocks is above the limit."""

    def __init__(self, method: TokenLatency, network: nn.Module) -> None:
        super().__init__(network)
        self._method = method
        self._check([method.block.at(self._reduced.leading + 1)] * len(self._reduced.blocks))

    def penalty(self) -> Tensor:
        """The squared excess."""
        cost = self.cost()
        return self._method.strength * (cost / self._method.limit - 1).clamp_min(0).square()

    def cost(self) -> Tensor:
        """Seconds that all blocks take for the mean counts of the last pass, class tokens and packages included.

        Raises SpokeshaveError where one patch behind every reducer would still cost more than the limit.
        """
        kept, reduced, block = self._kept(), self._reduced, self._method.block
        counts = reduced.counts.mean(1)
        deciding = [self._deciding(index) for index in range(len(counts))]
        self._check(
            [
                block.at(float(count) if reducer is None else reduced.leading + 1)
                for count, reducer in zip(counts, deciding, strict=True)
            ]
        )
        patches = [one.sum(1, dtype=counts.dtype).mean() for one in kept]
        moving = [
            count if reducer is None else count + patches[reducer] - patches[reducer].detach()
            for count, reducer in zip(counts, deciding, strict=True)
        ]
        return block.expected(torch.stack(moving)).sum()

    def _deciding(self, block: int) -> int | None:
        """Which reducer, the last in front within its stage, decides how many tokens a block works on."""
        blocks, reducers = self._reduced.blocks, self._reduced.reducers
        before = [
            number
            for number, reducer in enumerate(reducers)
            if reducer.before <= block and blocks[reducer.before].stage == blocks[block].stage
        ]
        return before[-1] if before else None

    def _check(self, seconds: list[float]) -> None:
        if self._method.limit < sum(seconds):
            raise SpokeshaveError(
                f"TokenLatency: {1e3 * self._method.limit:.3g} ms cannot be met; one patch behind every reducer costs "
                f"{1e3 * sum(seconds):.3g} ms"
            )


class TokenDistillationSession(_Reads):
    """A hook that runs the teacher beside the student in training mode and compares the last block's tokens."""

    def __init__(self, method: TokenDistillation, network: nn.Module) -> None:
        super().__init__(network)
        self._method = method
        self._wanted: Tensor | None = None
        last = self._reduced.blocks[-1].name
        try:
            layer = method.teacher.get_submodule(last)
        except AttributeError as error:
            raise SpokeshaveError(f"TokenDistillation: the teacher has no block {last!r}") from error
        self._handles = [
            network.register_forward_pre_hook(self._teach, with_kwargs=True),
            layer.register_forward_hook(self._keep),
        ]

    def penalty(self) -> Tensor:
        """The mean squared difference over tokens that stay."""
        kept, found, wanted = self._kept()[-1], self._reduced.features, self._wanted
        if found is None or wanted is None:
            raise SpokeshaveError("tokens are compared after a forward pass in training mode; there was none")
        if found.shape[1] < wanted.shape[1]:
            raise SpokeshaveError(
                "tokens are compared where they are masked; leave the form as it is in training"
            )
        weights = torch.cat((kept.new_ones(len(kept), self._reduced.leading), kept), 1)[:, :, None]
        squares = (found[:, : wanted.shape[1]] - wanted).square() * weights
        return self._method.strength * squares.sum() / (weights.sum() * wanted.shape[2])

    def finish(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._wanted = None

    def _teach(self, network: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if network.training:
            taught(self._method.teacher, inputs, named)

    def _keep(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self._wanted = output[0] if isinstance(output, tuple) else output


@open_session.register
def _(method: TokenRatio, network: nn.Module, plan: Plan) -> RatioSession:
    return RatioSession(method, network)


@open_session.register
def _(method: TokenLatency, network: nn.Module, plan: Plan) -> LatencySession:
    return LatencySession(method, network)


@open_session.register
def _(method: TokenDistillation, network: nn.Module, plan: Plan) -> TokenDistillationSession:
    check_teacher("TokenDistillation", method.teacher, network)
    return TokenDistillationSession(method, network)
