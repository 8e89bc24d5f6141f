"""The float DeiT-tiny, taught MNIST's digits at 160 x 160 pixels: 100 patches, most of which are empty.

While it is taught half of the patches, others every time, are missing (PatchDropout, arXiv 2208.07220): that takes half
of the time, and a network that bears missing patches is what selectors are put into.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from papers.deit_tiny import ImageScores, deit_tiny
from papers.image_attention import quick_attention
from papers.relative_rates import relative_rates
from papers.trials import remembered_tensors
from spokeshave.data import Batches, Data
from spokeshave.data.cifar10 import normalised
from spokeshave.locate import data_folder
from spokeshave.methods import train
from spokeshave.tokens import Random, TokenReducer, TopK, insert

SIDE = 160
FOR_CHOICES = 1_000  # of the test images: settings are chosen by the first, the others judge
SHRINKING, MOVING = 0.2, 0.1  # by how much digits are smaller, and elsewhere of half an image, at most
HEAD = "network.classifier"


@dataclass(frozen=True)
class Teaching:
    """How many images are seen, what share of their patches, and the rates of the network, relative, and its head."""

    images: int = 32_000
    keep: float = 0.5
    rate: float = 1.2e-2
    head_rate: float = 1e-3


def deit_tiny_mnist(how: Teaching = Teaching()) -> tuple[ImageScores, Data]:
    """The network, taught unless it is there, and MNIST; raises SpokeshaveError where the data is not to be found."""
    data = mnist()

    def make() -> dict[str, Tensor]:
        torch.manual_seed(0)
        learned = ImageScores(data.classes, SIDE)
        known = deit_tiny(SIDE)[0].state_dict()
        own = {name: tensor for name, tensor in learned.state_dict().items() if name.startswith(HEAD)}
        learned.load_state_dict(known | own)
        teach(learned, data, how)
        return learned.state_dict()

    network = ImageScores(data.classes, SIDE)
    network.load_state_dict(
        remembered_tensors(f"deit_tiny/mnist-{how.images}-{how.keep}-{how.rate}-{how.head_rate}", make)
    )
    return network.eval(), data


def teach(network: ImageScores, data: Data, how: Teaching) -> None:
    """One cycle of AdamW in which patches are missing."""
    missing = insert(network, TokenReducer(0, Random(), TopK(how.keep)))
    missing.form = "gathered"
    head = [tensor for name, tensor in network.named_parameters() if name.startswith(HEAD)]
    others = [tensor for name, tensor in network.named_parameters() if not name.startswith(HEAD)]
    groups = [*relative_rates(others, how.rate), {"params": head, "lr": how.head_rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    with quick_attention(torch.bfloat16):
        train(network, data.shortened(how.images), 1, optimizer=optimizer, precision=torch.bfloat16)
    missing.remove()


def mnist(choosing: bool = False) -> Data:
    """MNIST as bytes `[N, 1, 28, 28]`, enlarged batch by batch; the test images that judge, or choose, are held out."""
    file = np.load(data_folder("mnist") / "mnist.npz")
    held = slice(None, FOR_CHOICES) if choosing else slice(FOR_CHOICES, None)
    (images, labels), judging = (
        (
            torch.from_numpy(file[f"x_{part}"][which])[:, None],
            torch.from_numpy(file[f"y_{part}"][which]).long(),
        )
        for part, which in (("train", slice(None)), ("test", held))
    )
    training = Batches(images, labels, 64, shuffle=True, augment=moved)
    return Data(training, Batches(*judging, 250, augment=enlarged), 10, "mnist")


def enlarged(images: Tensor) -> Tensor:
    """Grey bytes `[N, 1, S, S]` to what the network sees."""
    return F.interpolate(_coloured(images), size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def moved(images: Tensor) -> Tensor:
    """The same, each digit smaller and elsewhere: how training images are seen."""
    count = len(images)
    scale = 1 + SHRINKING * torch.rand(count)
    offset = MOVING * (2 * torch.rand(count, 2, 1) - 1)
    window = torch.cat((torch.diag_embed(scale[:, None].expand(-1, 2)), offset), 2)
    grid = F.affine_grid(window, [count, 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(_coloured(images), grid, align_corners=False, padding_mode="border")


def _coloured(images: Tensor) -> Tensor:
    return normalised(images.expand(-1, 3, -1, -1))
