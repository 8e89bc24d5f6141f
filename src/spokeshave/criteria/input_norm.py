"""A weight times the size of what it multiplies: Wanda, and with tokens weighted by a router, MoE-Pruner."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spokeshave.criteria.criterion import Batches, check_finite, parameters_of, required, saliencies
from spokeshave.criteria.inputs import stream_inputs
from spokeshave.criteria.layer_matrices import matrices_of, weight_of
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_passes
from spokeshave.schemes.scheme import as_matrix
from spokeshave.weights import layer_of


@dataclass(frozen=True)
class InputNorm:
    """`(|w_ij| ||X_j||)^2`, X_j the layer's j-th input over all positions of `passes` batches.

    Wanda's (arXiv 2306.11695), for linear layers, convolutions, transposed ones too (every group has inputs of its own)
    and recurrent layers (state matrices meet the states). Its authors rank within each output row: a scheme with equal
    rows does so, for one `NOfM(kept, length)` as long as a row. None goes through all batches; labels are not used.
    """

    passes: int | None = None

    def __post_init__(self) -> None:
        check_passes("InputNorm", self.passes)


class InputSquares:
    """Sums of squares of a layer's inputs, in double precision, however many tokens stream past.

    A token's weight multiplies its inputs: the gate that a router gave it (MoE-Pruner, arXiv 2410.12013, equation of
    section 3), or 1.
    """

    def __init__(self, columns: int) -> None:
        self.total = torch.zeros(columns, dtype=torch.float64)
        self.tokens = 0

    def add(self, rows: Tensor, gates: Tensor | None = None) -> None:
        """Add rows `[tokens, columns]`, weighted by `gates` `[tokens]`; raises SpokeshaveError for other shapes."""
        if rows.dim() != 2 or rows.shape[1] != len(self.total):
            raise SpokeshaveError(
                f"inputs of shape {tuple(rows.shape)} were given; (tokens, {len(self.total)}) are needed"
            )
        if gates is not None and gates.shape != rows.shape[:1]:
            raise SpokeshaveError(f"{len(rows)} tokens have gates of shape {tuple(gates.shape)}")
        weighted = rows.double() if gates is None else rows.double() * gates.double()[:, None]
        self.total += weighted.square().sum(0).cpu()
        self.tokens += len(rows)

    def saliency(self, weight: Tensor) -> Tensor:
        """Squared weight times its input's squared norm; zero-size inputs leave the order to the weights.

        Inputs that no token brought (an expert to which nothing was routed) count as equal ones.
        """
        squares = self.total if self.tokens else torch.ones_like(self.total)
        squared = as_matrix(weight.detach()).square() * squares.to(weight)
        return squared.view(weight.shape)


@saliencies.register
def _(
    criterion: InputNorm, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    weights = parameters_of(network, names)
    squares: dict[str, list[InputSquares]] = {}

    def add(name: str, groups: Tensor) -> None:
        known = squares.setdefault(name, [InputSquares(groups.shape[-1]) for _ in groups])
        for square, rows in zip(known, groups, strict=True):
            square.add(rows)

    stream_inputs(network, weights, required(batches, criterion), criterion.passes, add)
    for name, known in squares.items():
        if not any(square.total.any() for square in known):
            raise SpokeshaveError(
                f"InputNorm: nothing but zeros flows into {name}, so no input of it ranks above another; "
                "look at the data and at what comes before the layer"
            )
    found = {
        name: _saliency(network.get_submodule(layer_of(name)), weight.detach(), squares[name])
        for name, weight in weights.items()
    }
    return check_finite(found, criterion)


def _saliency(layer: nn.Module, weight: Tensor, groups: list[InputSquares]) -> Tensor:
    """Of a weight whose matrices meet the inputs of so many groups."""
    matrices = matrices_of(layer, weight)
    found = [squares.saliency(matrix) for squares, matrix in zip(groups, matrices, strict=True)]
    return weight_of(layer, torch.stack(found), tuple(weight.shape))
