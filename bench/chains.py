"""Chains of equal layers with ReLU between them, so that every runtime keeps its own layout inside."""

import itertools
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from bench.catalogue import Case


def _convolutions(channels: tuple[int, ...], kernel: int, size: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU()]
    return _scaled(nn.Sequential(*layers)), (torch.randn(1, channels[0], size, size),)


def _projections(widths: tuple[int, ...], tokens: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return _scaled(nn.Sequential(*layers)), (torch.randn(1, tokens, widths[0]),)


def _scaled(network: nn.Sequential) -> nn.Sequential:
    """Weights that keep the size of what passes through (He et al., arXiv 1502.01852)."""
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return network


def _square(name: str, channels: int, size: int, layers: int) -> Case:
    about = f"{layers} layers, 3 x 3, {channels} channels, {size} x {size}"
    return Case(name, about, partial(_convolutions, (channels,) * (layers + 1), 3, size), prune_first=True)


def _bottleneck(name: str, narrow: int, wide: int, size: int, pairs: int) -> Case:
    about = f"{2 * pairs} layers, 1 x 1, {narrow} <-> {wide} channels, {size} x {size}"
    return Case(
        name, about, partial(_convolutions, ((narrow, wide) * pairs + (narrow,)), 1, size), prune_first=True
    )


def _feed_forward(name: str, narrow: int, wide: int, tokens: int, pairs: int) -> Case:
    about = f"{2 * pairs} layers, {narrow} <-> {wide}, {tokens} tokens"
    return Case(
        name, about, partial(_projections, ((narrow, wide) * pairs + (narrow,)), tokens), prune_first=True
    )


CHAINS: Mapping[str, Case] = {
    case.name: case
    for case in (
        _square("conv3x3_64_56", 64, 56, 4),
        _square("conv3x3_128_28", 128, 28, 4),
        _square("conv3x3_256_14", 256, 14, 5),
        _square("conv3x3_512_7", 512, 7, 4),
        _square("conv3x3_512_28", 512, 28, 2),
        _bottleneck("conv1x1_256_14", 256, 1024, 14, 3),
        _bottleneck("conv1x1_64_56", 64, 256, 56, 3),
        _feed_forward("deit_small_ffn", 384, 1536, 197, 3),
        _feed_forward("deit_base_ffn", 768, 3072, 197, 2),
        _feed_forward("bert_ffn", 768, 3072, 128, 2),
        _feed_forward("bert_qkv", 768, 2304, 128, 2),
    )
}
