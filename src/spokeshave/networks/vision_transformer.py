"""A small vision transformer (arXiv 2010.11929): patches and a class token through blocks of attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError

POSITION_DEVIATION = (
    0.5  # patches of few pixels look alike, and are told apart by their places from the first step on
)


class TransformerBlock(nn.Module):
    """Attention and two linear layers, each behind a norm and beside a shortcut: `[N, T, width]` to as many."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add what attention and the linear layers find."""
        parts = self.qkv(self.norm1(tokens)).chunk(3, 2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.down(F.gelu(self.up(self.norm2(tokens))))


class VisionTransformer(nn.Module):
    """Images `[N, channels, side, side]` to scores `[N, classes]`, by square patches of `patch` pixels a side.

    Patches see `overlap` pixels of their neighbours on every side. Raises SpokeshaveError where patches do not cut the
    image evenly, or heads the width.

    >>> VisionTransformer(1, 16, 4, width=32, heads=2, blocks=3)(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: int,
        side: int,
        patch: int,
        width: int,
        heads: int,
        blocks: int,
        classes: int = 10,
        overlap: int = 0,
    ) -> None:
        super().__init__()
        if side % patch or width % heads:
            raise SpokeshaveError(
                f"VisionTransformer: patches of {patch} pixels must cut {side} evenly, and {heads} heads "
                f"{width} channels"
            )
        patches = (side // patch) ** 2
        self.patch = nn.Conv2d(channels, width, patch + 2 * overlap, patch, overlap)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(POSITION_DEVIATION * torch.randn(1, patches + 1, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class by what the class token has become."""
        patches = self.patch(images).flatten(2).transpose(1, 2) + self.position[:, 1:]
        front = (self.cls_token + self.position[:, :1]).expand(len(images), -1, -1)
        tokens = torch.cat((front, patches), 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


def digits_transformer() -> VisionTransformer:
    """For the digits, 16 x 16: 64 patches, 4 blocks, 77 thousand weights."""
    return VisionTransformer(1, 16, 2, width=48, heads=4, blocks=4, overlap=1)
