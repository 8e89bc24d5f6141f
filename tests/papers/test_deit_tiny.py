"""The float DeiT-tiny: its quantizers, and that the published integers still classify ImageNet between them."""

import pytest
import torch

pytest.importorskip("transformers")

from papers.deit_tiny import ImageScores, imagenet_classes, places_for
from papers.deit_tiny_integers import Levels, fill, published, quantize, table_scale
from papers.tiny_imagenet import SIDE, classes, cropped, enlarged

from spokeshave.data.cifar10 import normalised
from spokeshave.data.sheets import read_sheets
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder

EVERY = 50


def test_quantizers_round_and_give_way():
    levels, values = Levels(0.5, -4, 3, zero=1.0), torch.tensor([-9.0, 0.2, 0.3, 9.0], requires_grad=True)
    assert levels(values).tolist() == [-2.5, 0.0, 0.5, 1.0]
    (slope,) = torch.autograd.grad(levels(values).sum(), values)
    assert slope.tolist() == [0, 1, 1, 0]
    levels.exact = 0.5
    assert torch.allclose(levels(values), torch.tensor([-5.75, 0.1, 0.4, 5.0]))
    levels.exact = 1.0
    assert torch.equal(levels(values), values)


def test_the_scale_of_a_table_that_rounds():
    offset, shift = 77, 2
    inputs = (torch.arange(64) + 0.5) * 2**shift - offset
    table = (0.05 * inputs).round().clamp(-4, 3)
    integers = {"q.quant.scalars": torch.tensor([offset, shift, 63]), "q.quant.table": table}
    assert table_scale(integers, "q.quant") == pytest.approx(0.05, rel=0.02)


@pytest.fixture(scope="module")
def sample():
    """Every so many images of ImageNet's sample, one of a class."""
    try:
        images, _ = read_sheets(data_folder("imagenet_sample") / "imagenet_sample_224.zip")
        integers = published()
    except SpokeshaveError as reason:
        pytest.skip(str(reason))
    return normalised(torch.from_numpy(images[::EVERY].copy()).permute(0, 3, 1, 2)), integers


@torch.inference_mode()
def test_the_integers_classify_between_their_quantizers_and_not_without(sample):
    images, integers = sample
    network = ImageScores(1000, 224).eval()
    handles = quantize(network.network, fill(network.network, integers, range(1000)))
    labels = torch.arange(0, 1000, EVERY)
    assert float((network(images).argmax(1) == labels).float().mean()) > 0.6
    for handle in handles:
        handle.remove()
    network.network.set_attn_implementation("sdpa")
    assert float((network(images).argmax(1) == labels).float().mean()) < 0.2


def test_classes_are_found_by_their_names(sample):
    rows = imagenet_classes(classes())
    assert rows == sorted(set(rows))  # both lists are in the order of the names
    assert rows[0] == 1  # goldfish


def test_images_are_enlarged_and_cropped():
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    assert enlarged(images).shape == cropped(images).shape == (6, 3, SIDE, SIDE)
    even = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    assert torch.allclose(enlarged(even), cropped(even), atol=1e-5)


def test_places_are_spread_over_a_larger_image():
    places = torch.arange(50.0).view(1, 50, 1).expand(1, 50, 4)
    larger = places_for(160, places)
    assert torch.equal(places_for(SIDE, places), places)
    assert torch.equal(larger[:, 0], places[:, 0])
    assert (larger[0, 1:, 0].view(10, 10).diff(dim=0) > 0).all()
    assert float(larger[:, 1:].mean()) == pytest.approx(25.0, abs=0.1)
