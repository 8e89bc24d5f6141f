"""A DeiT-like transformer of small images, patches and a class token: small enough to train on one core."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """How large a transformer is, and what images it sees; CIFAR-10's, unless told.

    With `convolutions` patches of 4 x 4 are embedded by two layers of 3 x 3, which learn from far fewer images than one
    linear layer does (LV-ViT has four).
    """

    width: int = 64
    heads: int = 4
    blocks: int = 4
    channels: int = 3
    side: int = 32
    patch: int = 4
    convolutions: bool = False

    @property
    def patches(self) -> int:
        """How many patches an image has."""
        return (self.side // self.patch) ** 2


CIFAR = Shape()


class Block(nn.Module):
    """Attention and two linear layers, each behind a norm and beside a shortcut: `[N, T, width]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add what attention and the linear layers find."""
        whole = self.qkv(self.norm1(tokens)).chunk(3, 2)
        query, key, value = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in whole)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.down(F.gelu(self.up(self.norm2(tokens))))


class ImageTransformer(nn.Module):
    """Images `[N, channels, side, side]` to the scores of ten classes."""

    def __init__(self, shape: Shape = CIFAR) -> None:
        super().__init__()
        self.patch = _embedding(shape)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos = nn.Parameter(0.02 * torch.randn(1, shape.patches + 1, shape.width))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.blocks))
        self.norm, self.head = nn.LayerNorm(shape.width), nn.Linear(shape.width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        patches = self.patch(images).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        tokens = torch.cat(((self.cls_token + self.pos[:, :1]).expand(len(images), -1, -1), patches), 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


def _embedding(shape: Shape) -> nn.Module:
    if not shape.convolutions:
        return nn.Conv2d(shape.channels, shape.width, shape.patch, shape.patch)
    half = shape.width // 2
    return nn.Sequential(
        nn.Conv2d(shape.channels, half, 3, 2, 1), nn.GELU(), nn.Conv2d(half, shape.width, 3, 2, 1)
    )


def fresh(seed: int, shape: Shape = CIFAR) -> ImageTransformer:
    """Fresh weights of a seed."""
    torch.manual_seed(seed)
    return ImageTransformer(shape)


def optimizer(network: nn.Module, rate: float = 1e-3) -> torch.optim.AdamW:
    """AdamW with weight decay 0.05, as DeiT is trained."""
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05, fused=True)


def multiply_adds(shape: Shape, tokens: Sequence[int], keys: Sequence[int] | None = None) -> int:
    """Multiply-adds of one image, from how many tokens each block works on and how many keys its queries read.

    >>> round(multiply_adds(CIFAR, [65] * 4) / 1e6, 2)
    10.88
    """
    read = tokens if keys is None else keys
    blocks = sum(
        8 * count * shape.width**2 + 2 * count * seen * shape.width
        for count, seen in zip(tokens, read, strict=True)
    )
    return blocks + _embedding_multiply_adds(shape)


def _embedding_multiply_adds(shape: Shape) -> int:
    if not shape.convolutions:
        return shape.channels * shape.patch**2 * shape.patches * shape.width
    half = shape.width // 2
    return 9 * shape.patches * half * (4 * shape.channels + shape.width)
