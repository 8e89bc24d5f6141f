"""The networks that go by a name."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from spokeshave.networks.cifar_resnet import cifar_resnet
from spokeshave.networks.residual import cifar_wide, digits_network

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "digits": digits_network,
    "cifar10-wide": cifar_wide,
    "cifar10-resnet20": partial(cifar_resnet, 20, "pretrained"),
    "cifar10-resnet32": partial(cifar_resnet, 32, "pretrained"),
    "cifar10-resnet56": partial(cifar_resnet, 56, "pretrained"),
}
