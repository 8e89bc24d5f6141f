"""What all schemes share that only remove weights: keep some, set the others to zero."""

from collections.abc import Callable

import torch
from torch import Tensor

from spokeshave.schemes.checks import check_weight
from spokeshave.schemes.ranking import score
from spokeshave.schemes.scheme import Scheme


def project_by(
    owner: str,
    scheme: Scheme,
    weight: Tensor,
    saliency: Tensor | None,
    choose: Callable[[Tensor], Tensor],
) -> Tensor:
    """Keep the weights that `choose` picks when it is shown what each is worth; a member stays as it is.

    `choose` takes and returns tensors of the weight's shape. Raises SpokeshaveError for a weight that the scheme
    does not support, and for values that are infinite or NaN.
    """
    check_weight(owner, scheme, weight, saliency)
    if scheme.contains(weight):
        return weight.detach().clone()
    return torch.where(choose(score(weight, saliency)), weight.detach(), 0)
