"""Small vision transformers of every kind that tokens are reduced in, random weights, float64."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

WIDTH, HEADS = 16, 2
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 4, "num_attention_heads": HEADS, "intermediate_size": 32}
IMAGES = {"image_size": 16, "patch_size": 4, "num_channels": 3, "num_labels": 5}


class Scores(nn.Module):
    """A network of transformers that gives its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


class Block(nn.Module):
    """Attention that is written out, with a softmax."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attention = F.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
        tokens = tokens + self.out((attention @ v).transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens))


class LVViTLike(nn.Module):
    """A stem of convolutions, as LV-ViT has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, WIDTH, 2, 2)
        )
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(torch.randn(1, 17, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class PiTLike(nn.Module):
    """Two stages of blocks; between them a convolution pools the map of patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, 2, 1)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(torch.randn(1, WIDTH, 8, 8))
        self.first = nn.ModuleList(Block() for _ in range(2))
        self.pool = nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1, groups=WIDTH)
        self.widen = nn.Linear(WIDTH, 2 * WIDTH)
        self.second = nn.ModuleList(Block(2 * WIDTH, 4) for _ in range(3))
        self.head = nn.Linear(2 * WIDTH, 5)

    def forward(self, images: Tensor) -> Tensor:
        patches = (self.patch(images) + self.position).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1)
        for block in self.first:
            tokens = block(tokens)
        grid = self.pool(tokens[:, 1:].transpose(1, 2).unflatten(2, (8, 8)))
        tokens = torch.cat((self.widen(tokens[:, :1]), grid.flatten(2).transpose(1, 2)), 1)
        for block in self.second:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


class Headless(nn.Module):
    """No class token: the mean over all tokens is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(1))


def vit() -> nn.Module:
    return Scores(ViTForImageClassification(ViTConfig(**SIZES, **IMAGES)))


def eager_vit() -> nn.Module:
    return Scores(ViTForImageClassification(ViTConfig(**SIZES, **IMAGES, attn_implementation="eager")))


def deit() -> nn.Module:
    return Scores(DeiTForImageClassificationWithTeacher(DeiTConfig(**SIZES, **IMAGES)))


def swin() -> nn.Module:
    return Scores(
        SwinForImageClassification(
            SwinConfig(
                **{**IMAGES, "patch_size": 2}, embed_dim=8, depths=[4, 2], num_heads=[2, 2], window_size=4
            )
        )
    )


LEAVING = {"vit": vit, "eager vit": eager_vit, "deit": deit, "lv-vit": LVViTLike, "pit": PiTLike}
STAYING = {**LEAVING, "headless": Headless, "swin": swin}


def network(kind: str, seed: int = 0) -> nn.Module:
    """One of these, in evaluation mode, with positions that tell patches apart."""
    torch.manual_seed(seed)
    made = STAYING[kind]().double().eval()
    for parameter in made.parameters():
        if parameter.dim() > 1:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made


def images(samples: int, seed: int = 0) -> Tensor:
    """Noise."""
    return torch.randn(samples, 3, 16, 16, generator=torch.Generator().manual_seed(seed)).double()
