"""Joint quantization: the search sees what the integers compute, and loses less than the largest scales do."""

import pytest
import torch
from tests.compiler.integers.test_network import grids_of, joined

from spokeshave.compiler.importer import import_program
from spokeshave.compiler.integers import IntegerForm, JointSearch, joint_network, whole_network
from spokeshave.compiler.integers.batched import batch_values, run_batch
from spokeshave.compiler.integers.convert import in_whole_numbers
from spokeshave.compiler.integers.joint import _Search
from spokeshave.compiler.integers.network import quantization_operations
from spokeshave.compiler.integers.plan import divide, modules
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network


def form(bits, **settings):
    shifts = {"per": "tensor", "scales": "power_of_two", "rescale": "shift", "observer": "min_max"}
    return IntegerForm(bits, bits, **(shifts | settings))


@pytest.mark.parametrize("bias_bits", [8, None])
@pytest.mark.parametrize("joins", ["fused", "operators"])
def test_the_search_sees_what_the_integers_compute(bias_bits, joins):
    network, x = joined()
    settings = form(5, joins=joins, signed=True)
    graph = modules(optimise(import_program(export_network(network, x)).graph), settings)
    division = divide(graph, settings)
    with torch.inference_mode():
        search = _Search(graph, division, settings, JointSearch(2, bias_bits), batch_values(graph, [x]))
        whole = in_whole_numbers(graph, division, search.choices([x]), settings)
        made = batch_values(whole, [x])
    grids = grids_of(whole)
    assert len(grids) == (8 if joins == "fused" else 12)
    for name, grid in grids.items():
        seen = search.made[name.removesuffix(" whole")]
        assert torch.equal(made[name].double() * grid.scale, seen.double())
    assert torch.equal(made[whole.outputs[0]], search.made[graph.outputs[0]])


def test_less_is_lost_at_few_bits_than_by_the_largest_scales():
    network, x = joined()
    wanted = network(x)
    losses = [
        (run_batch(whole.graph, [x])[0] - wanted).norm()
        for whole in (
            joint_network(network, x, [x], form(4), JointSearch(bias_bits=None)),
            whole_network(network, x, [x], form(4)),
        )
    ]
    assert losses[0] < losses[1]


def test_modules_round_less_often_than_operators():
    network, x = joined()
    counts = [
        quantization_operations(whole_network(network, x, [x], form(8, joins=joins)).graph)
        for joins in ("fused", "separate", "operators")
    ]
    assert counts[0] < counts[1] < counts[2]


def test_wrong_searches_get_one_sentence():
    network, x = joined()
    with pytest.raises(SpokeshaveError, match="joint quantization is for rescale='shift'"):
        joint_network(network, x, [x], IntegerForm())
    with pytest.raises(SpokeshaveError, match="clipped_bits must be a whole number of at least 0"):
        JointSearch(clipped_bits=-1)
    with pytest.raises(SpokeshaveError, match="bias_bits must be from 2 to 16"):
        JointSearch(bias_bits=64)
