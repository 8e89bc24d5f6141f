"""Pictures of tokens: which patches of a few held-out images stay, and how many tokens images keep."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.pictures import Histogram, KeptImage, Patches, Stage
from spokeshave.tokens import inserted_in

SHOWN, LARGEST = 4, 64  # images in a report, pixels of a side in it


@torch.no_grad()
def kept_patches(network: nn.Module, inputs: Tensor, labels: Tensor) -> Patches | None:
    """The first images `[N, 1 or 3, H, W]` with what the network's reducers leave; None where patches are no grid."""
    images = inputs[:SHOWN]
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        return None
    network.eval()(images)
    reduced = inserted_in(network)
    columns = [_columns(images, kept.shape[1]) for kept in reduced.decisions]
    if 0 in columns:
        return None
    found = []
    for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=False)):
        stages = tuple(
            Stage(f"from block {reducer.before} on", width, tuple(kept[index].int().tolist()))
            for reducer, kept, width in zip(reduced.reducers, reduced.decisions, columns, strict=True)
        )
        found.append(KeptImage(f"class {label}", _pixels(image), stages))
    note = "Held-out images, and the patches that are left of each; packages of the others are not drawn."
    return Patches("Patches kept", note, tuple(found))


def count_histogram(reducers: Sequence[Mapping[str, Any]], all_tokens: int) -> Histogram:
    """Images by how many tokens they have from each reducer on."""
    panels = tuple(
        (f"from block {one['before']} on", tuple(map(tuple, one["tokens"]["images"]))) for one in reducers
    )
    note = f"Held-out images by the tokens that blocks work on, of {all_tokens}; counted in the deployment."
    most = max(all_tokens, *(count for _, pairs in panels for count, _ in pairs))
    return Histogram("Tokens of an image", note, "tokens, class tokens and packages included", most, panels)


def _columns(images: Tensor, patches: int) -> int:
    """How many patches lie side by side, 0 where they are no grid of square patches."""
    columns = round(math.sqrt(patches * images.shape[3] / images.shape[2]))
    return columns if columns and patches % columns == 0 else 0


def _pixels(image: Tensor) -> tuple[tuple[tuple[int, ...], ...], ...]:
    side = max(image.shape[1:])
    if side > LARGEST:
        image = F.interpolate(image[None], scale_factor=LARGEST / side, mode="area")[0]
    low, high = image.min(), image.max()
    levels = ((image - low) / (high - low).clamp_min(1e-9) * 255).round().int().permute(1, 2, 0)
    return tuple(tuple(tuple(pixel) for pixel in row) for row in levels.tolist())
