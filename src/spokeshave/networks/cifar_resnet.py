"""Three-stage residual networks for CIFAR (He et al., arXiv 1512.03385, section 4.2), option-A shortcuts."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder

CHECKPOINTS = {20: "resnet20-12fca82f.th", 32: "resnet32-d509ac18.th", 56: "resnet56-4bfd9763.th"}


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without weights: every second pixel, new channels zero."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.new_channels = width - channels

    def forward(self, images: Tensor) -> Tensor:
        """`[N, channels, H, W]` to `[N, width, H / stride, W / stride]`."""
        correction = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images)))))
        return F.relu(correction + self._shortcut(images))

    def _shortcut(self, images: Tensor) -> Tensor:
        if self.stride == 1:
            return images
        half = self.new_channels // 2
        return F.pad(
            images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half)
        )


class CifarResNet(nn.Module):
    """`6 n + 2` layers in three stages of n blocks, 16, 32, 64 channels; `[N, 3, 32, 32]` to `[N, 10]`."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise SpokeshaveError(
                f"a CIFAR residual network has 6 n + 2 layers (20, 32, 56, ...), not {depth}"
            )
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(torch.mean(features, dim=(2, 3)))


def cifar_resnet(depth: int, weights: str | Path | None = None) -> CifarResNet:
    """A CIFAR residual network; `weights` is a checkpoint's path, or "pretrained" for the one of this depth.

    Pretrained checkpoints (depths 20, 32, 56; 91.73, 92.63 and 93.39 % on the test images) are looked for by
    `data_folder("cifar10_resnets")`. Raises SpokeshaveError when one is missing or does not fit.
    """
    network = CifarResNet(depth)
    if weights is not None:
        path = _pretrained(depth) if weights == "pretrained" else Path(weights)
        _load(network, path)
    return network


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(channels, width, stride), *(Block(width, width, 1) for _ in range(blocks - 1)))


def _pretrained(depth: int) -> Path:
    if depth not in CHECKPOINTS:
        raise SpokeshaveError(
            f"there is no pretrained CIFAR residual network of {depth} layers; there are {[*CHECKPOINTS]}"
        )
    return data_folder("cifar10_resnets") / CHECKPOINTS[depth]


def _load(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise SpokeshaveError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    except Exception as error:  # torch.load and load_state_dict raise half a dozen kinds
        reason = str(error).strip().splitlines()[0]
        raise SpokeshaveError(f"{path} does not hold the weights of this network: {reason}") from error
