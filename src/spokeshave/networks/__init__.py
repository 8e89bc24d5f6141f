"""Built-in networks."""

from spokeshave.networks.binary import Sign, binary_convolutional, binary_perceptron
from spokeshave.networks.builtin import NETWORKS, SAMPLE_SHAPES
from spokeshave.networks.cifar_resnet import cifar_resnet
from spokeshave.networks.residual import ResidualNetwork, cifar_wide, digits_network
from spokeshave.networks.vision_transformer import VisionTransformer, digits_transformer

__all__ = [
    "NETWORKS",
    "SAMPLE_SHAPES",
    "ResidualNetwork",
    "Sign",
    "VisionTransformer",
    "binary_convolutional",
    "binary_perceptron",
    "cifar_resnet",
    "cifar_wide",
    "digits_network",
    "digits_transformer",
]
