"""Patterns of 3x3 kernels: the nearest choice of all, shared where asked for, and stored by pattern."""

from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import best_of, weights
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.dictionaries import as_masks, dictionary_of, known_dictionaries, learned_dictionary
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.ranking import density


def best(weight: Tensor, scheme: Patterns) -> float:
    """Every choice of kernels, or of groups of kernels that share, each with its best pattern."""
    masks = as_masks(dictionary_of(scheme.dictionary))
    groups = weight.square().flatten(2).split(scheme.filters_sharing)
    units = [
        (len(group), max((group[:, channel] * mask).sum().item() for mask in masks))
        for group, channel in product(groups, range(weight.shape[1]))
    ]
    return best_of(units, weight.shape[0] * weight.shape[1] * (1 - scheme.kernel_sparsity))


@given(weights((3, 3, 3, 3)), st.sampled_from([0, 0.4, 0.7]), st.sampled_from([1, 2, 3]))
@settings(max_examples=60, deadline=None)
def test_the_nearest_point(weight, sparsity, sharing) -> None:
    scheme = Patterns(sparsity, "clicktrain_4", sharing)
    assert scheme.project(weight).square().sum().item() == best(weight, scheme)


@pytest.mark.parametrize("sharing", [1, 4, 5])
def test_filters_share_patterns(sharing) -> None:
    weight = torch.randn(12, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    kept = Patterns(0.5, filters_sharing=sharing).project(weight) != 0
    for group in kept.split(sharing):
        assert (group == group[0]).all()
        assert set(group.flatten(2).sum(2).flatten().tolist()) <= {0, 4}


@pytest.mark.parametrize(("sparsity", "sharing"), [(0, 1), (0.5, 1), (0.7, 4), (0.7, 8)])
def test_the_sparsity_is_met(sparsity, sharing) -> None:
    weight = torch.randn(60, 40, 3, 3, generator=torch.Generator().manual_seed(0))
    wanted = 4 / 9 * (1 - sparsity)
    assert (
        0.99 * wanted <= density(Patterns(sparsity, filters_sharing=sharing).project(weight)) <= wanted + 1e-9
    )


def test_more_sharing_is_further_away() -> None:
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    kept = [Patterns(0.5, filters_sharing=sharing).project(weight).square().sum() for sharing in (1, 2, 4, 8)]
    assert kept == sorted(kept, reverse=True)


def test_more_filters_than_there_are_means_all_of_them() -> None:
    weight = torch.randn(5, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    beyond, all_of_them = Patterns(0.5, filters_sharing=10**15), Patterns(0.5, filters_sharing=5)
    kept = beyond.project(weight)
    assert torch.equal(kept, all_of_them.project(weight))
    assert beyond.pack(kept).nbytes == all_of_them.pack(kept).nbytes


def test_what_is_stored() -> None:
    weight = torch.randn(10, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    for sharing in (1, 4):
        scheme = Patterns(0.5, filters_sharing=sharing)
        packed = scheme.pack(scheme.project(weight))
        kernels, groups = len(packed.channels), -(-10 // sharing)
        assert packed.nbytes == 30 * 4 * 4 + kernels + groups * 8 + 8 * 4
        assert int(packed.counts.sum()) == kernels
        assert kernels == 30 if sharing == 1 else kernels < 15


def test_learned_patterns_are_the_most_frequent_natural_ones() -> None:
    weight = torch.randn(40, 20, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[:, :, 1, 1] += 3
    weight[:30, :, 0, :] += 3
    natural = Counter(
        tuple(sorted(kernel.abs().argsort(descending=True)[:4].tolist())) for kernel in weight.view(-1, 9)
    )
    found = learned_dictionary(weight, count=4)
    cells = [tuple(mask.nonzero()[:, 0].tolist()) for mask in as_masks(found)]
    assert [natural[cell] for cell in cells] == [count for _, count in natural.most_common(4)]
    assert found[0] == "111 010 000"
    fixed, learned = Patterns(0, "clicktrain_4"), Patterns(0, found)
    assert learned.project(weight).square().sum() > fixed.project(weight).square().sum()


def test_saliency_decides() -> None:
    weight = torch.ones(1, 2, 3, 3)
    saliency = torch.zeros(1, 2, 3, 3)
    saliency[0, 1, 1:, 1:] = 1.0
    projected = Patterns(0.5, "clicktrain_4").project(weight, saliency)
    assert torch.equal(projected, saliency)
    assert learned_dictionary(weight, 1, saliency=saliency) == ("000 011 011",)


def test_published_dictionaries_keep_four_entries() -> None:
    for dictionary in known_dictionaries().values():
        assert (as_masks(dictionary).sum(1) == 4).all()
        assert dictionary_of(dictionary) == dictionary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dictionary": "squares"}, "there is no dictionary 'squares'; known ones are clicktrain_4"),
        ({"dictionary": ["11 11 00"]}, "a pattern is a text such as '110 110 000', not '11 11 00'"),
        ({"dictionary": ["110 110 000", "111 111 000"]}, "different patterns that keep equally many"),
        ({"dictionary": ["110 110 000"] * 2}, "different patterns that keep equally many"),
        ({"dictionary": []}, "different patterns that keep equally many"),
        ({"filters_sharing": 0}, "filters_sharing must be a whole number from 1 up, not 0"),
        ({"kernel_sparsity": 1}, "kernel_sparsity must be a number in"),
    ],
)
def test_settings_that_make_no_sense(arguments, message) -> None:
    with pytest.raises(SpokeshaveError, match=f"patterns: .*{message}"):
        Patterns(**arguments)


def test_what_has_no_patterns() -> None:
    assert "only convolutions with kernels of 3 x 3" in str(Patterns().supports((8, 4, 1, 1)))
    with pytest.raises(SpokeshaveError, match="only kernels of 3 x 3 have patterns"):
        learned_dictionary(torch.ones(3, 9))
    with pytest.raises(SpokeshaveError, match="the weight must be a tensor, not of type list"):
        learned_dictionary([1.0])
    with pytest.raises(SpokeshaveError, match="a weight of zeros has no natural patterns"):
        learned_dictionary(torch.zeros(2, 2, 3, 3))


def test_no_patterns_are_learned_from_nan() -> None:
    with pytest.raises(SpokeshaveError, match="the weight holds infinite values or NaN"):
        learned_dictionary(torch.full((4, 4, 3, 3), float("nan")))
