import pytest
import torch
from torch import nn

from spokeshave.data import cifar10
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder
from spokeshave.networks import (
    NETWORKS,
    SAMPLE_SHAPES,
    VisionTransformer,
    cifar_resnet,
    cifar_wide,
    digits_network,
    digits_transformer,
)


def multiply_adds(network, example):
    total = 0

    def count(layer, _, output):
        nonlocal total
        total += layer.weight.numel() * output[0, 0].numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network.eval()(example)
    return total


def has_pretrained():
    try:
        return data_folder("cifar10_resnets")
    except SpokeshaveError:
        return None


needs_pretrained = pytest.mark.skipif(not has_pretrained(), reason="the CIFAR-10 data is not on this machine")


def test_the_digits_network_has_the_size_that_it_says():
    assert 38e6 < multiply_adds(digits_network(), torch.zeros(1, 1, 16, 16)) < 39e6


@pytest.mark.parametrize(
    ("make", "shape"),
    [(digits_network, (2, 1, 16, 16)), (digits_transformer, (2, 1, 16, 16)), (cifar_wide, (2, 3, 32, 32))],
)
def test_scores_for_every_class(make, shape):
    assert make()(torch.zeros(shape)).shape == (2, 10)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_cifar_residual_networks_have_the_published_sizes(depth, parameters):
    assert sum(weight.numel() for weight in cifar_resnet(depth).parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "parameters", "layer"),
    [
        ("resnet18", 11_689_512, "layer2.0.downsample.0.weight"),
        ("resnet50", 25_557_032, "layer4.2.conv3.weight"),
        ("vgg16", 138_357_544, "classifier.6.weight"),
        ("mobilenet_v2", 3_504_872, "features.17.conv.1.0.weight"),
    ],
)
def test_imagenet_networks_have_the_published_sizes_and_names(name, parameters, layer):
    network = NETWORKS[name]().eval()
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert layer in network.state_dict()
    with torch.inference_mode():
        assert network(torch.zeros(1, *SAMPLE_SHAPES[name])).shape == (1, 1000)


def test_a_depth_that_no_such_network_has():
    with pytest.raises(SpokeshaveError, match=r"6 n \+ 2 layers .* not 21"):
        cifar_resnet(21)


def test_a_depth_without_a_checkpoint():
    with pytest.raises(SpokeshaveError, match=r"no pretrained .* of 44 layers"):
        cifar_resnet(44, "pretrained")


def test_a_checkpoint_of_another_network(tmp_path):
    torch.save({"state_dict": cifar_resnet(20).state_dict()}, tmp_path / "small.th")
    with pytest.raises(SpokeshaveError, match=r"small\.th does not hold the weights of this network"):
        cifar_resnet(32, tmp_path / "small.th")


@needs_pretrained
def test_every_pretrained_name_gives_a_network():
    for name in ("cifar10-resnet20", "cifar10-resnet32", "cifar10-resnet56"):
        assert NETWORKS[name]()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@needs_pretrained
@pytest.mark.slow
def test_pretrained_resnet20_has_its_published_accuracy():
    network, held_out = cifar_resnet(20, "pretrained").eval(), cifar10().held_out
    network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        right = sum(int((network(inputs).argmax(1) == labels).sum()) for inputs, labels in held_out)
    assert right == 9173


def test_a_vision_transformer_cuts_images_evenly():
    network = VisionTransformer(3, 8, 4, width=16, heads=2, blocks=2, classes=5, overlap=1)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert network.position.shape == (1, 5, 16)
    with pytest.raises(SpokeshaveError, match="patches of 3 pixels must cut 8 evenly, and 2 heads 16"):
        VisionTransformer(3, 8, 3, width=16, heads=2, blocks=2)
