"""How MNIST's digits are shown to a DeiT-tiny, and that teaching leaves patches out in training alone."""

import pytest
import torch

pytest.importorskip("transformers")

from papers.deit_tiny import ImageScores
from papers.deit_tiny_mnist import FOR_CHOICES, SIDE, Teaching, enlarged, mnist, moved, teach

from spokeshave.data import Batches, Data
from spokeshave.errors import SpokeshaveError


def test_digits_are_enlarged_and_moved():
    digits = torch.zeros(6, 1, 28, 28, dtype=torch.uint8)
    digits[:, :, 10:18, 10:18] = 255
    large, shifted = enlarged(digits), moved(digits)
    assert large.shape == shifted.shape == (6, 3, SIDE, SIDE)
    assert torch.equal(large[0], large[1])
    assert not torch.allclose(shifted[0], shifted[1])
    ink = (shifted > 0).float().mean((1, 2, 3)) / (large > 0).float().mean((1, 2, 3))
    assert (ink < 1.05).all()
    assert (ink > 0.6).all()  # 1 / 1.2 squared is 0.69


def test_images_that_choose_do_not_judge():
    try:
        choosing, judging = mnist(choosing=True).held_out, mnist().held_out
    except SpokeshaveError as reason:
        pytest.skip(str(reason))
    assert len(choosing.labels) == FOR_CHOICES
    assert len(judging.labels) == 3_000 - FOR_CHOICES
    assert not (choosing.inputs[:, None, 0] == judging.inputs[None, :50, 0]).all((2, 3)).any()


def test_teaching_changes_weights_and_leaves_no_reducer():
    torch.manual_seed(0)
    network = ImageScores(10, SIDE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    digits = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    batches = Batches(digits, torch.tensor([0, 1, 2, 3]), 2, shuffle=True, augment=moved)
    seen = []
    network.network.vit.layers[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    teach(network, Data(batches, batches, 10, "digits"), Teaching(images=4, keep=0.25))
    assert set(seen) == {1 + 25}
    after = network.state_dict()
    assert after.keys() == before.keys()
    matrices = [name for name, tensor in before.items() if tensor.dim() > 1 and tensor.any()]
    assert matrices
    assert not any(torch.equal(after[name], before[name]) for name in matrices)
