"""Criteria of the loss's gradient: what the loss is expected to change by when a weight is removed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.criteria.criterion import Batches, check_finite, parameters_of, required, saliencies
from spokeshave.criteria.ranks import mean_over_ranks
from spokeshave.data.batch_forms import parted, run_on
from spokeshave.data.labels import check_loss, loss_of
from spokeshave.errors import SpokeshaveError
from spokeshave.export import evaluating
from spokeshave.schemes.block_packing import tiling_of
from spokeshave.schemes.checks import as_block, check_flag, check_function, check_passes
from spokeshave.schemes.scheme import as_matrix
from spokeshave.schemes.tiling import Tiling

Loss = Callable[[Tensor, Tensor], Tensor]
Gradients = dict[str, Tensor]


def squared_outputs(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean squared output, a loss that needs no labels (LPViT, arXiv 2407.02068)."""
    return scores.square().mean()


class OfBatches:
    """What criteria share that go through batches."""

    passes: int | None
    loss: Loss

    def __post_init__(self) -> None:
        check_passes(type(self).__name__, self.passes)
        check_function(type(self).__name__, "loss", self.loss)


@dataclass(frozen=True)
class Taylor(OfBatches):
    """`(w g)^2`, g the mean gradient over `passes` batches: the loss's change to first order, squared.

    ClickTrain (arXiv 2011.10170) takes one batch in training mode, `Taylor(passes=1, training=True)`. None goes through
    all batches.
    """

    passes: int | None = None
    loss: Loss = F.cross_entropy
    training: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("Taylor", "training", self.training)


@dataclass(frozen=True)
class Fisher(OfBatches):
    """`w^2 E[g^2] / 2`: the loss's change to second order, its Hessian taken as the diagonal of the Fisher matrix.

    The expectation is over batches; batches of one sample give the empirical Fisher matrix itself.
    """

    passes: int | None = None
    loss: Loss = F.cross_entropy


@dataclass(frozen=True)
class BlockFisher(OfBatches):
    """`E[(sum of w g over a block)^2] / 2`, shared out evenly over the block `rows x columns`.

    The change to second order when a whole block is removed, cross terms inside it included (LPViT, arXiv 2407.02068,
    with the Fisher matrix in the Hessian's place). For schemes whose blocks are these.
    """

    block: tuple[int, int]
    passes: int | None = None
    loss: Loss = F.cross_entropy

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "block", as_block("BlockFisher", self.block))


@dataclass(frozen=True)
class Movement(OfBatches):
    """`(sum of w g over the steps)^2` where the sum is negative, else 0: weights that grow matter (arXiv 2005.07683).

    The sum is over batches at the weights as they are.
    """

    passes: int | None = None
    loss: Loss = F.cross_entropy


@saliencies.register
def _(
    criterion: Taylor, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    mean = mean_gradients(criterion, network, names, batches)
    refuse_flat(criterion, {name: bool(gradient.any()) for name, gradient in mean.items()})
    weights = parameters_of(network, mean)
    found = {name: (weight.detach() * mean[name]).square() for name, weight in weights.items()}
    return check_finite(found, criterion)


@saliencies.register
def _(
    criterion: Fisher, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    weights = parameters_of(network, names)
    total, count = _summed(criterion, network, weights, batches, lambda _, gradient: gradient.square())
    found = {name: weight.detach().square() * total[name] / (2 * count) for name, weight in weights.items()}
    return check_finite(found, criterion)


@saliencies.register
def _(
    criterion: BlockFisher, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    weights = parameters_of(network, names)
    tilings = {name: tiling_of(weight, criterion.block) for name, weight in weights.items()}

    def squared_by_block(name: str, gradient: Tensor) -> Tensor:
        share = as_matrix(weights[name].detach() * gradient)
        return tilings[name].split(share).sum((1, 2)).square()

    total, count = _summed(criterion, network, weights, batches, squared_by_block)
    found = {
        name: _spread(total[name] / (2 * count), tilings[name]).view(weight.shape)
        for name, weight in weights.items()
    }
    return check_finite(found, criterion)


@saliencies.register
def _(
    criterion: Movement, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    weights = parameters_of(network, names)
    total, _ = _summed(
        criterion, network, weights, batches, lambda name, gradient: weights[name].detach() * gradient
    )
    return check_finite({name: moved.clamp(max=0).square() for name, moved in total.items()}, criterion)


def mean_gradients(
    criterion: Taylor, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> Gradients:
    """The loss's gradient by each named parameter, averaged over batches; conditions are those of `saliencies`.

    It may be zero: an allocation takes that for a curve that is flat.
    """
    weights = parameters_of(network, names)
    total, count = _summed(
        criterion, network, weights, batches, lambda _, gradient: gradient, criterion.training, flat_too=True
    )
    return check_finite({name: summed / count for name, summed in total.items()}, criterion)


def _spread(by_block: Tensor, tiling: Tiling) -> Tensor:
    """A matrix each of whose blocks sums to its number."""
    even = (by_block / tiling.sizes().to(by_block))[:, None, None]
    return tiling.join(even.expand(-1, *tiling.block).contiguous())


def _summed(
    criterion: Taylor | Fisher | BlockFisher | Movement,
    network: nn.Module,
    weights: dict[str, nn.Parameter],
    batches: Batches | None,
    term: Callable[[str, Tensor], Tensor],
    training: bool = False,
    flat_too: bool = False,
) -> tuple[Gradients, int]:
    """By parameter: the sum over batches of `term(name, gradient)`; and how many batches there were."""
    total: Gradients = {}
    count, changed = 0, dict.fromkeys(weights, False)
    for gradients in _gradients(criterion, network, weights, batches, training):
        count += 1
        for name, gradient in gradients.items():
            total[name] = total.get(name, 0) + term(name, gradient)
            changed[name] = changed[name] or bool(gradient.any())
    if not flat_too:
        refuse_flat(criterion, changed)
    return total, count


def refuse_flat(criterion: object, changed: dict[str, bool]) -> None:
    """Raise SpokeshaveError for a weight whose gradient changed nowhere: it says nothing."""
    for name in (name for name, any_changed in changed.items() if not any_changed):
        raise SpokeshaveError(
            f"{type(criterion).__name__}: the loss's gradient by {name} is zero on every batch, so it tells no weight "
            "from another; look at the data and at what the layer's outputs meet"
        )


def _gradients(
    criterion: Taylor | Fisher | BlockFisher | Movement,
    network: nn.Module,
    weights: dict[str, nn.Parameter],
    batches: Batches | None,
    training: bool = False,
) -> Iterator[Gradients]:
    """The loss's gradient of each batch; the parameters' own `grad` and the modules' buffers are left alone."""
    seen = False
    for name in (name for name, weight in weights.items() if not weight.requires_grad):
        raise SpokeshaveError(
            f"{type(criterion).__name__}: {name} is frozen (requires_grad is False), so it has no gradient; "
            "let it have one, or choose a criterion that needs none"
        )
    for batch in islice(required(batches, criterion), criterion.passes):
        seen, (inputs, labels) = True, parted(batch)
        with _undisturbed(network) if training else evaluating(network), torch.enable_grad():
            loss = loss_of(criterion.loss, run_on(network, inputs), labels)
            check_loss(loss)
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, found, strict=True):
            if gradient is None:
                raise SpokeshaveError(f"the loss does not depend on {name}, so it has no gradient")
        yield mean_over_ranks(dict(zip(weights, found, strict=True)))
    if not seen:
        raise SpokeshaveError(f"{type(criterion).__name__} was given not one batch of data")


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Training mode while the block runs; running statistics come back as they were."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    network.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
