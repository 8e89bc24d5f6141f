"""A transformer of 49 patches for MNIST, trained here: much of an image is background, as much of a photograph is."""

from dataclasses import replace

import torch

from papers.deployments import Store
from papers.image_transformer import ImageTransformer, Shape, fresh, optimizer
from papers.small_vit import mnist
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import train

SHAPE = Shape(width=128, heads=4, blocks=6, channels=1, side=28, convolutions=True)


def trained(kept: Store, quick: bool) -> tuple[ImageTransformer, Data, str]:
    """The network, MNIST (scikit-learn's digits where it is absent), and what they are; a narrow one when quick."""
    try:
        data, about = mnist(), "MNIST"
    except SpokeshaveError as reason:
        data, about = DATA["digits"](), f"digits in MNIST's place ({reason})"
    assert isinstance(data.train, Batches)
    shape = replace(SHAPE, width=32 if quick else SHAPE.width, side=data.train.inputs.shape[3])
    seen = data.shortened(640) if quick else data
    network = fresh(0, shape)

    def fit(untrained: torch.nn.Module) -> None:
        train(untrained, seen, 1, optimizer=optimizer(untrained))

    kept.checkpoint("mnist_transformer", (shape, quick), network, fit)
    return (
        network,
        data,
        f"a transformer of {shape.blocks} blocks, trained here in one pass, on {about}",
    )
