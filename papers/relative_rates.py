"""AdamW with learning rates by the size of what they change, for networks whose tensors are of unlike sizes."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def relative_rates(parameters: Iterable[nn.Parameter], rate: float) -> list[dict[str, Any]]:
    """An optimiser's groups in which a tensor's learning rate is `rate` times its own root mean square.

    >>> relative_rates([nn.Parameter(torch.full((3,), 4.0))], 0.1)[0]["lr"]
    0.4
    """
    return [
        {"params": [tensor], "lr": rate * float(tensor.detach().square().mean().sqrt())}
        for tensor in parameters
    ]


def relative_adamw(
    parameters: Iterable[nn.Parameter], rate: float, *others: dict[str, Any]
) -> torch.optim.AdamW:
    """AdamW with relative rates, beside `others`, groups that have rates of their own; no weight decays."""
    return torch.optim.AdamW([*relative_rates(parameters, rate), *others], weight_decay=0.0, fused=True)


def split_parameters(network: nn.Module, begins: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those whose names begin so, none where it is empty, and all others.

    >>> [len(some) for some in split_parameters(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False)), "0.")]
    [2, 1]
    """
    found: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        found[bool(begins) and name.startswith(begins)].append(parameter)
    return found[True], found[False]
