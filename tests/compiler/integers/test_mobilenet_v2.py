"""A real integer network, MobileNetV2 in int8, held to TensorFlow Lite's own kernels bit for bit."""

import numpy as np
import pytest
import torch
from tests.compiler.integers.mobilenet_v2 import Trace, first_sheet, whole_graph

from spokeshave.compiler.integers.batched import run_batch
from spokeshave.compiler.integers.ranges import accumulator_ranges, check_accumulators
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder


def shared(folder, name, read):
    try:
        return read(data_folder(folder) / name)
    except SpokeshaveError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def trace():
    return Trace.read()


@pytest.fixture(scope="module")
def graph(trace):
    return whole_graph(shared("mobilenet_v2_int8", "mobilenet_v2_tf2_int8.npz", np.load), trace)


def test_logits_are_those_of_the_reference_kernels(graph, trace):
    sheet = shared("imagenet_sample", "imagenet_sample_224.zip", first_sheet)
    images = torch.stack([sheet[index] for index in trace.images])
    with torch.inference_mode():
        (logits,) = run_batch(graph, [(images.float() - 127) * trace.input.scale])
    levels = (logits / trace.logit.scale + trace.logit.zero_point).round()
    assert torch.equal(levels, trace.logits.float())
    assert (levels.argmax(1) - 1).tolist() == list(
        trace.images
    )  # one image a class; class 0 is the background


def test_sums_fit_the_accumulators_of_32_bits(graph):
    ranges = accumulator_ranges(graph)
    assert 24 < max(found.bits for found in ranges) <= 32
    check_accumulators(graph, 32)
