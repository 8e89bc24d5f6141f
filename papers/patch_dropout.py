"""Training with patches missing, others every time (PatchDropout, arXiv 2208.07220).

It takes the time of the patches that are there, and gives a network that bears missing ones, as token reducers are put
into.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from papers.image_attention import quick_attention
from papers.relative_rates import relative_adamw, split_parameters
from spokeshave.data import Data
from spokeshave.methods import train
from spokeshave.tokens import Random, TokenReducer, TopK, insert


@dataclass(frozen=True)
class Teaching:
    """How many images are seen in each of some passes, what share of their patches, and the learning rates.

    The network's is `rate`, relative to its tensors' sizes; `head_rate` that of a new head, whose layer's name is
    `head`, drawn by `seed`. `smoothing` is of the labels.
    """

    images: int
    epochs: int = 1
    keep: float = 0.5
    rate: float = 1e-3
    head: str = ""
    head_rate: float = 1e-3
    smoothing: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        """For a file that holds what was taught."""
        return f"{self.images}-{self.epochs}-{self.keep}-{self.rate}-{self.seed}"


def teach(network: nn.Module, data: Data, how: Teaching) -> None:
    """One cycle of AdamW; the network has all its patches again afterwards."""
    missing = insert(network, TokenReducer(0, Random(), TopK(how.keep)))
    missing.form = "gathered"
    head, others = split_parameters(network, how.head)
    groups = [{"params": head, "lr": how.head_rate}] if head else []
    with quick_attention(torch.bfloat16):
        train(
            network,
            data.shortened(how.images),
            how.epochs,
            optimizer=relative_adamw(others, how.rate, *groups),
            loss=partial(F.cross_entropy, label_smoothing=how.smoothing),
            precision=torch.bfloat16,
        )
    missing.remove()
    network.eval()
