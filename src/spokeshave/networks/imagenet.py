"""Networks for `[N, 3, 224, 224]` images and 1000 classes, random weights; parameters are named as in torchvision.

ResNet: He et al., arXiv 1512.03385 (stride in the 3 x 3 convolution of a bottleneck); VGG: Simonyan and Zisserman,
arXiv 1409.1556; MobileNetV2: Sandler et al., arXiv 1801.04381.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

IMAGE = (3, 224, 224)
VGG_16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width and convolutions of each stage
# Expansion, width, blocks and stride of each stage (arXiv 1801.04381, table 2).
MOBILE_STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


class ResidualBlock(nn.Module):
    """Convolutions beside a shortcut: `[N, channels, H, W]` to `[N, expansion * width, H / stride, W / stride]`.

    A bottleneck has 1 x 1, 3 x 3 and 1 x 1 convolutions and expansion 4, otherwise there are two of 3 x 3.
    """

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        shapes = [(3, stride, width), (3, 1, outputs)]
        if bottleneck:
            shapes = [(1, 1, width), (3, stride, width), (1, 1, outputs)]
        inputs = channels
        self.count = len(shapes)
        for number, (kernel, step, wide) in enumerate(shapes, 1):
            setattr(self, f"conv{number}", nn.Conv2d(inputs, wide, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(wide))
            inputs = wide
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != outputs:
            projection = nn.Conv2d(channels, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Add the block's correction to its shortcut."""
        features = images
        for number in range(1, self.count + 1):
            features = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(features))
            features = self.relu(features) if number < self.count else features
        return self.relu(features + self.downsample(images))


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, mean, linear head."""

    def __init__(self, blocks: Sequence[int], bottleneck: bool, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, count in enumerate(blocks, 1):
            width, stage = 32 << number, nn.Sequential()
            for index in range(count):
                stride = 2 if number > 1 and index == 0 else 1
                stage.append(ResidualBlock(channels, width, stride, bottleneck))
                channels = 4 * width if bottleneck else width
            setattr(self, f"layer{number}", stage)
        self.stages = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for number in range(1, self.stages + 1):
            features = self.get_submodule(f"layer{number}")(features)
        return self.fc(torch.flatten(self.avgpool(features), 1))


class VGG(nn.Module):
    """Stages of 3 x 3 convolutions that end in max pooling, then three linear layers."""

    def __init__(self, stages: Sequence[tuple[int, int]], classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = 3
        for width, count in stages:
            for _ in range(count):
                self.features.extend([nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)])
                channels = width
            self.features.append(nn.MaxPool2d(2, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(channels * 49, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            nn.Linear(4096, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        return self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the input is added where shapes allow."""

    def __init__(self, channels: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        layers: list[nn.Module] = [_unit(channels, inner, 1)] if expansion > 1 else []
        layers.append(_unit(inner, inner, 3, stride, groups=inner))
        layers += [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == outputs

    def forward(self, images: Tensor) -> Tensor:
        """`[N, channels, H, W]` to `[N, outputs, H / stride, W / stride]`."""
        return images + self.conv(images) if self.adds else self.conv(images)


class MobileNetV2(nn.Module):
    """Stem, inverted residual blocks, a wide 1 x 1 convolution, mean, linear head."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, 32, 3, 2)]
        channels = 32
        for expansion, width, count, first in MOBILE_STAGES:
            for index in range(count):
                layers.append(InvertedResidual(channels, width, first if index == 0 else 1, expansion))
                channels = width
        self.features = nn.Sequential(*layers, _unit(channels, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        return self.classifier(torch.mean(self.features(images), dim=(2, 3)))


def _unit(channels: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def _initialised(network: Network) -> Network:
    """Weights that keep the size of activations from layer to layer (He et al., arXiv 1502.01852)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def resnet18() -> ResNet:
    """11.7 million weights, 1.8 billion multiply-adds."""
    return _initialised(ResNet((2, 2, 2, 2), bottleneck=False))


def resnet50() -> ResNet:
    """25.6 million weights, 4.1 billion multiply-adds."""
    return _initialised(ResNet((3, 4, 6, 3), bottleneck=True))


def vgg16() -> VGG:
    """138 million weights, 15.5 billion multiply-adds."""
    return _initialised(VGG(VGG_16))


def mobilenet_v2() -> MobileNetV2:
    """3.5 million weights, 0.30 billion multiply-adds."""
    return _initialised(MobileNetV2())
