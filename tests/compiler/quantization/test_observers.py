"""Histograms and the ranges chosen from them."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spokeshave.compiler.quantization.observers import (
    OBSERVERS,
    add,
    empty,
    mean_squared_error,
    min_max,
    percentile,
    quantization_error,
    quantization_of,
)
from spokeshave.errors import SpokeshaveError

unhurried = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30)


@unhurried
@given(st.lists(numbers, min_size=1, max_size=5))
def test_the_order_of_batches_changes_nothing(batches):
    forward = backward = empty()
    for batch in batches:
        forward = add(forward, torch.tensor(batch))
    for batch in reversed(batches):
        backward = add(backward, torch.tensor(batch))
    assert forward.reach == backward.reach
    assert torch.equal(forward.counts, backward.counts)
    everything = [number for batch in batches for number in batch]
    assert int(forward.counts.sum()) == len(everything)
    assert min_max(forward) == (min(0.0, *everything), max(0.0, *everything))


@unhurried
@given(numbers)
def test_every_range_lies_within_the_observed_one_and_is_quantized_with_an_exact_zero(batch):
    histogram = add(empty(), torch.tensor(batch))
    for observer in OBSERVERS.values():
        low, high = observer(histogram)
        assert histogram.smallest <= low <= high <= histogram.largest
        quantization = quantization_of((low, high))
        assert 0 <= quantization.zero_point <= 255
        assert quantization.scale > 0


def test_one_outlier_does_not_stretch_percentile_and_mean_squared_error():
    values = torch.cat(
        [torch.randn(100_000, generator=torch.Generator().manual_seed(0)), torch.tensor([300.0])]
    )
    histogram = add(empty(), values)
    assert min_max(histogram)[1] == 300
    assert percentile(histogram)[1] < 5
    chosen = quantization_of(mean_squared_error(histogram))
    assert quantization_error(histogram, chosen) < quantization_error(
        histogram, quantization_of(min_max(histogram))
    )


def test_nothing_but_zeros_has_a_quantization():
    assert quantization_of(min_max(add(empty(), torch.zeros(9)))).scale == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_infinite_values_are_refused(bad):
    with pytest.raises(SpokeshaveError, match="infinite values or NaN"):
        add(empty(), torch.tensor([1.0, bad]))
