"""Learning rates by the size of what they change, for networks whose tensors are of unlike sizes."""

from collections.abc import Iterable
from typing import Any

from torch import nn


def relative_rates(parameters: Iterable[nn.Parameter], rate: float) -> list[dict[str, Any]]:
    """An optimiser's groups in which a tensor's learning rate is `rate` times its own root mean square.

    >>> import torch
    >>> relative_rates([nn.Parameter(torch.full((3,), 4.0))], 0.1)[0]["lr"]
    0.4
    """
    return [
        {"params": [tensor], "lr": rate * float(tensor.detach().square().mean().sqrt())}
        for tensor in parameters
    ]
