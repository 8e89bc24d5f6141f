"""The forms in which common convolutional networks use their operators: none of them falls out to PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.compiler import compile_network
from spokeshave.measure.peers import relative_error

CHANNELS = 12


class SqueezeAndExcite(nn.Module):
    """Channel weights from the mean over positions (MobileNetV3, EfficientNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(4, CHANNELS, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(maps, 1)))))


class Shuffle(nn.Module):
    """Channels of groups mixed (ShuffleNet)."""

    def forward(self, maps: Tensor) -> Tensor:
        samples, channels, height, width = maps.shape
        return maps.view(samples, 3, channels // 3, height, width).transpose(1, 2).reshape(maps.shape)


class Branches(nn.Module):
    """Convolutions of one map joined along the channels (Inception, DenseNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(_conv((1, 7), padding=(0, 3)), _conv((7, 1), padding=(3, 0)))
        self.small = _conv(1)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.wide(maps), self.small(maps), F.avg_pool2d(maps, 3, 1, 1)], 1)


class Whole(nn.Module):
    """A convolution over what is left of the map, as a classifier."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1, groups=groups)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.flatten(
            self.conv(F.adaptive_avg_pool2d(maps, (1, 1)) + self.conv(maps[:, :, :2, :2])), 1
        )


def _conv(kernel: int | tuple[int, int], **settings: object) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, **settings)  # type: ignore[arg-type]


def _unit(activation: nn.Module, **settings: object) -> nn.Sequential:
    return nn.Sequential(_conv(3, padding=1, **settings), nn.BatchNorm2d(CHANNELS), activation)


FORMS: dict[str, nn.Module] = {
    "convolution": _conv(3, padding=1),
    "strided": _conv(3, stride=2, padding=1),
    "stem": _conv(7, stride=2, padding=3),
    "pointwise": _conv(1),
    "pointwise, strided": _conv(1, stride=2),
    "patches": _conv(4, stride=4),
    "same padding": _conv(4, padding="same"),
    "dilated": _conv(3, padding=2, dilation=2),
    "grouped": _conv(3, padding=1, groups=3),
    "grouped, strided": _conv(3, stride=2, padding=1, groups=4),
    "depthwise": _conv(5, padding=2, groups=CHANNELS),
    "depthwise, strided": _conv(5, stride=2, padding=2, groups=CHANNELS),
    "depthwise, 7 x 7": _conv(7, padding=3, groups=CHANNELS),
    "depthwise, dilated": _conv(3, padding=2, dilation=2, groups=CHANNELS),
    "depthwise, multiplied": nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, padding=1, groups=CHANNELS),
    "relu": _unit(nn.ReLU()),
    "relu6": _unit(nn.ReLU6(), groups=CHANNELS),
    "hardswish": _unit(nn.Hardswish()),
    "silu": _unit(nn.SiLU()),
    "leaky": _unit(nn.LeakyReLU(0.1)),
    "group norm": nn.Sequential(_conv(3), nn.GroupNorm(4, CHANNELS), nn.GELU()),
    "norm first": nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.ReLU(), _conv(1)),
    "max pool": nn.MaxPool2d(3, 2, 1),
    "max pool, ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "average pool": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "zero padding": nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), _conv(3)),
    "squeeze and excite": SqueezeAndExcite(),
    "shuffle": Shuffle(),
    "branches": Branches(),
    "whole": Whole(1),
    "whole, depthwise": Whole(CHANNELS),
}


class Every(nn.Module):
    """Every form on the same maps, so that all are built at once."""

    def __init__(self) -> None:
        super().__init__()
        self.forms = nn.ModuleList(FORMS.values())

    def forward(self, maps: Tensor) -> list[Tensor]:
        return [form(maps) for form in self.forms]


@pytest.mark.slow
def test_every_form_compiles_and_equals_pytorch() -> None:
    torch.manual_seed(0)
    network, maps = Every().eval(), torch.randn(2, CHANNELS, 19, 37)
    deployment = compile_network(network, (maps[:1],))
    assert [(stage.layer, stage.reason) for stage in deployment.fallen_out] == []
    with torch.inference_mode():
        expected = network(maps)
    for name, result, reference in zip(FORMS, deployment(maps), expected, strict=True):
        assert relative_error(result, reference) < 1e-5, name
