"""A DeiT-like transformer of 32 x 32 images, 64 patches and a class token: small enough to train on one core."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, BLOCKS, PATCH, SIDE = 64, 4, 4, 4, 32
PATCHES = (SIDE // PATCH) ** 2


class Block(nn.Module):
    """Attention and two linear layers, each behind a norm and beside a shortcut: `[N, T, WIDTH]`."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add what attention and the linear layers find."""
        whole = self.qkv(self.norm1(tokens)).chunk(3, 2)
        query, key, value = (each.unflatten(2, (HEADS, -1)).transpose(1, 2) for each in whole)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.down(F.gelu(self.up(self.norm2(tokens))))


class ImageTransformer(nn.Module):
    """Colour images `[N, 3, 32, 32]` to scores `[N, classes]`."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos = nn.Parameter(0.02 * torch.randn(1, PATCHES + 1, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        patches = self.patch(images).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        tokens = torch.cat(((self.cls_token + self.pos[:, :1]).expand(len(images), -1, -1), patches), 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


def fresh(seed: int, classes: int = 10) -> ImageTransformer:
    """Fresh weights of a seed."""
    torch.manual_seed(seed)
    return ImageTransformer(classes)


def optimizer(network: nn.Module, rate: float = 1e-3) -> torch.optim.AdamW:
    """AdamW with weight decay 0.05, as DeiT is trained."""
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05, fused=True)


def multiply_adds(tokens: Sequence[int], keys: Sequence[int] | None = None) -> int:
    """Multiply-adds of one image, from how many tokens each block works on and how many keys its queries read.

    >>> round(multiply_adds([65] * 4) / 1e6, 2)
    10.88
    """
    read = tokens if keys is None else keys
    blocks = sum(
        8 * count * WIDTH**2 + 2 * count * seen * WIDTH for count, seen in zip(tokens, read, strict=True)
    )
    return blocks + 3 * PATCH**2 * PATCHES * WIDTH
