import torch

from spokeshave.data.augment import random_flip, random_shift


def test_every_image_is_moved_as_a_whole_by_at_most_the_reach():
    torch.manual_seed(0)
    images = torch.zeros(200, 2, 9, 9)
    images[:, :, 4, 4] = 1
    moved = random_shift(images, reach=2)
    assert torch.equal(moved.sum((2, 3)), torch.ones(200, 2))
    places = moved[:, 0].flatten(1).argmax(1)
    assert torch.equal(places, moved[:, 1].flatten(1).argmax(1))
    rows, columns = places // 9 - 4, places % 9 - 4
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}


def test_what_leaves_the_frame_is_gone_and_zeros_come_in():
    torch.manual_seed(0)
    moved = random_shift(torch.ones(50, 1, 4, 4), reach=1)
    assert set(moved.sum((1, 2, 3)).tolist()) == {9.0, 12.0, 16.0}


def test_about_half_of_the_images_are_mirrored():
    torch.manual_seed(0)
    images = torch.arange(4.0).expand(400, 1, 1, 4).contiguous()
    mirrored = (random_flip(images)[:, 0, 0, 0] == 3).sum()
    assert 150 < int(mirrored) < 250
