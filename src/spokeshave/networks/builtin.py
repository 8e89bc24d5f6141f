"""The networks that go by a name."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from spokeshave.networks.binary import binary_digits_network
from spokeshave.networks.cifar_resnet import cifar_resnet
from spokeshave.networks.imagenet import IMAGE, mobilenet_v2, resnet18, resnet50, vgg16
from spokeshave.networks.residual import cifar_wide, digits_network, small_digits_network
from spokeshave.networks.vision_transformer import digits_transformer

_IMAGENET: Mapping[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "mobilenet_v2": mobilenet_v2,
}

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "digits": digits_network,
    "digits-small": small_digits_network,
    "digits-binary": binary_digits_network,
    "digits-transformer": digits_transformer,
    "cifar10-wide": cifar_wide,
    "cifar10-resnet20": partial(cifar_resnet, 20, "pretrained"),
    "cifar10-resnet32": partial(cifar_resnet, 32, "pretrained"),
    "cifar10-resnet56": partial(cifar_resnet, 56, "pretrained"),
    **_IMAGENET,
}

# One sample of those that no built-in data belongs to.
SAMPLE_SHAPES: Mapping[str, tuple[int, ...]] = dict.fromkeys(_IMAGENET, IMAGE)
