"""Whether training has left numbers."""

import torch
from torch import nn

from spokeshave.errors import SpokeshaveError


def check_trained(network: nn.Module, when: str) -> None:
    """Raise SpokeshaveError for the first parameter that is not finite; `when` is what came before."""
    for name, parameter in network.named_parameters():
        if not torch.isfinite(parameter).all():
            raise SpokeshaveError(
                f"{name} holds infinite values or NaN after {when}: training diverged; a lower learning rate helps"
            )
