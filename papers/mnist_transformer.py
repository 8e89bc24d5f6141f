"""A transformer of 49 patches for MNIST, trained here: much of an image is background, as much of a photograph is."""

import torch

from papers.deployments import Store
from papers.image_transformer import ImageTransformer, Shape, fresh, optimizer
from papers.small_vit import mnist
from spokeshave.data import Data
from spokeshave.methods import train

SHAPE = Shape(width=64, heads=4, blocks=6, channels=1, side=28, convolutions=True)


def trained(kept: Store) -> tuple[ImageTransformer, Data, str]:
    """The network, MNIST, and what they are."""
    network, data = fresh(0, SHAPE), mnist()

    def fit(untrained: torch.nn.Module) -> None:
        train(untrained, data, 1, optimizer=optimizer(untrained))

    kept.checkpoint("mnist_transformer", SHAPE, network, fit)
    return (
        network,
        data,
        f"a transformer of {SHAPE.blocks} blocks and {SHAPE.patches} patches, one pass of MNIST",
    )
