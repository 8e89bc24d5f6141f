import sys

import pytest
import torch

from spokeshave.data import builtin_data, digits
from spokeshave.errors import SpokeshaveError


def test_the_split_is_fixed_stratified_and_complete():
    data = digits()
    held_out = data.held_out.labels.bincount()
    assert len(data.train.labels) + len(data.held_out.labels) == 1797
    assert held_out.min() >= 34
    assert held_out.max() <= 36
    assert torch.equal(digits().held_out.inputs, data.held_out.inputs)


def test_images_are_normalised_by_the_training_images():
    images = digits().train.inputs
    assert images.shape[1:] == (1, 16, 16)
    assert abs(float(images.mean())) < 1e-5
    assert abs(float(images.std()) - 1) < 1e-5


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SpokeshaveError, match=r"pip install 'spokeshave\[digits\]'"):
        digits()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SpokeshaveError, match="digits, cifar10"):
        builtin_data("mnist")
