"""float32 weights -> int8, symmetric, with a scale for each output row."""

import torch
from torch import Tensor

from spokeshave.compiler.quantization.arithmetic import LARGEST_WEIGHT


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 weight of the same shape and float32 scales `[rows]`; zeros stay zeros, a row of zeros has scale 1."""
    weight = weight.detach()
    largest = weight.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest / LARGEST_WEIGHT, torch.ones_like(largest))
    levels = (weight / scale.view(-1, *(1 for _ in weight.shape[1:]))).round()
    return levels.clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT).to(torch.int8), scale.float()
