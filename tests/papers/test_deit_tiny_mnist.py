"""How MNIST's digits are shown to a DeiT-tiny."""

import pytest
import torch

pytest.importorskip("transformers")

from papers.deit_tiny_mnist import FOR_CHOICES, SIDE, enlarged, mnist, moved

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
