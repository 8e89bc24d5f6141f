"""A real vision transformer with 3-bit weights and values, held to its authors' own trace bit for bit."""

import numpy as np
import pytest
import torch
from tests.compiler.integers.deit_tiny import deit_graph

from spokeshave.compiler.importer.structure import OutputStructure
from spokeshave.compiler.integers import IntegerDeployment, IntegerForm, WholeNetwork, load_integer_deployment
from spokeshave.compiler.integers.batched import run_batch
from spokeshave.compiler.integers.ranges import accumulator_ranges, check_accumulators
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder


@pytest.fixture(scope="module")
def raw():
    try:
        return np.load(data_folder("deit_tiny_w3a3") / "deit_tiny_w3a3.npz")
    except SpokeshaveError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def graph(raw):
    return deit_graph(raw)


def test_logits_are_those_of_the_trace(raw, graph):
    x = torch.from_numpy(raw["trace.input"])
    expected = torch.from_numpy(raw["trace.logits"])
    with torch.inference_mode():
        (logits,) = run_batch(graph, [x[None]])
    assert torch.equal(logits[0, 0], expected)


def test_it_is_saved_whole(graph, tmp_path):
    network = WholeNetwork(graph, OutputStructure("tensor").to_json(), ())
    IntegerDeployment(network, IntegerForm(), Cost("modelled", "nothing")).save(tmp_path / "deit")
    loaded = load_integer_deployment(tmp_path / "deit").graph
    assert loaded.nodes == graph.nodes
    assert all(torch.equal(loaded.weights[name], tensor) for name, tensor in graph.weights.items())


def test_layers_fit_small_accumulators(graph):
    layers = {found.layer: found for found in accumulator_ranges(graph)}
    assert layers["blocks.0.fc2"].bits <= 16
    check_accumulators(graph, 32)
