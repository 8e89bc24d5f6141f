"""DeiT-tiny in floating point for Tiny-ImageNet-50, won back from its published 3-bit form.

The published integers are of use only between the quantizers that they were trained with: without those the network
says nothing. So the quantizers stand in a vision transformer of transformers at first, and let through more and more of
what they are given while it learns Tiny-ImageNet-50; at last they are taken out. It had seen ImageNet, from which
Tiny-ImageNet is drawn: its accuracy serves comparisons here, and not with other networks.
"""

import zipfile
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from papers.deit_tiny_integers import HEADS, PATCH, WIDTH, fill, published, quantize
from papers.patch_dropout import Teaching, teach
from papers.relative_rates import relative_adamw
from papers.tiny_imagenet import SIDE, classes, tiny_imagenet
from papers.trials import remembered_tensors
from spokeshave.data import Data
from spokeshave.locate import data_folder
from spokeshave.methods import train

PLACES = "network.vit.embeddings.position_embeddings"
LARGER_SIDE = 160
MISSING_PATCHES = Teaching(10_000, epochs=3, smoothing=0.1)


@dataclass(frozen=True)
class Retraining:
    """How the float network is won: passes over the images, after how many of them no quantizer is left, its rate.

    A tensor's learning rate is `rate` times its own root mean square, for those of the tensors differ by thousands.
    """

    epochs: int = 10
    softening: float = 2.5
    rate: float = 2e-3
    smoothing: float = 0.1


class ImageScores(nn.Module):
    """A vision transformer of transformers that gives its scores alone: `[N, 3, S, S]` to `[N, classes]`."""

    def __init__(self, classes: int, side: int = SIDE) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_labels": classes}
        config = ViTConfig(**sizes, intermediate_size=4 * WIDTH, image_size=side, layer_norm_eps=1e-6)
        self.network = ViTForImageClassification(config)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        scores: Tensor = self.network(images).logits
        return scores


def deit_tiny(side: int = SIDE, how: Retraining = Retraining()) -> tuple[ImageScores, Data]:
    """The network, retrained unless it is there, and its data, both for images of `side`; retrained at 112.

    Raises SpokeshaveError where the data is not to be found.
    """
    data = tiny_imagenet(side)

    def make() -> dict[str, Tensor]:
        learned = ImageScores(data.classes)
        retrain(learned, tiny_imagenet(), how)
        return learned.state_dict()

    name = f"deit_tiny/{how.epochs}-{how.softening}-{how.rate}-{how.smoothing}"
    network, state = ImageScores(data.classes, side), remembered_tensors(name, make)
    network.load_state_dict(state | {PLACES: places_for(side, state[PLACES])})
    return network.eval(), data


def deit_tiny_missing_patches(side: int = LARGER_SIDE) -> tuple[ImageScores, Data]:
    """The same network, taught on with larger images half of whose patches are missing, unless it is there."""
    network, data = deit_tiny(side)

    def make() -> dict[str, Tensor]:
        teach(network, data, MISSING_PATCHES)
        return network.state_dict()

    network.load_state_dict(remembered_tensors(f"deit_tiny/missing-{side}-{MISSING_PATCHES.name}", make))
    return network.eval(), data


def places_for(side: int, places: Tensor) -> Tensor:
    """What tells patches' places `[1, 1 + P, C]` apart, the class token's first, at another size of image.

    >>> places_for(160, torch.zeros(1, 50, 8)).shape
    torch.Size([1, 101, 8])
    """
    old, new = round((places.shape[1] - 1) ** 0.5), side // PATCH
    if old == new:
        return places
    grid = places[:, 1:].mT.unflatten(2, (old, old))
    larger = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat((places[:, :1], larger.flatten(2).mT), 1)


def retrain(network: ImageScores, data: Data, how: Retraining) -> None:
    """Begin with the published integers and their quantizers, end without."""
    vit = network.network
    quantizers = fill(vit, published(), imagenet_classes(classes()))
    handles = quantize(vit, quantizers)

    def soften(done: int, steps: int) -> None:
        exact = min(1.0, done * how.epochs / (steps * how.softening))
        for levels in (one for own in quantizers for one in own.values()):
            levels.exact = exact
        if exact == 1 and handles:
            vit.set_attn_implementation("sdpa")
            while handles:
                handles.pop().remove()

    train(
        network,
        data,
        how.epochs,
        optimizer=relative_adamw(network.parameters(), how.rate),
        loss=partial(F.cross_entropy, label_smoothing=how.smoothing),
        precision=torch.bfloat16,
        on_step=soften,
        on_epoch=lambda result: print(f"retraining DeiT-tiny: {result}", flush=True),
    )


def imagenet_classes(names: list[str]) -> list[int]:
    """Which of ImageNet's thousand classes these WordNet ids are."""
    with zipfile.ZipFile(data_folder("imagenet_sample") / "imagenet_sample_224.zip") as archive:
        known = [line.split("_")[0] for line in archive.read("names.txt").decode().splitlines()]
    return [known.index(name) for name in names]
