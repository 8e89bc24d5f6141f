import copy

import pytest
import torch
from torch import nn

from spokeshave.criteria.inputs import input_columns
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, Reconstruction, begin, train
from spokeshave.methods.least_squares import reconstruct
from spokeshave.methods.moments import input_moments
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.unstructured import Unstructured

CONVOLUTIONS = [
    nn.Conv2d(3, 8, 3, padding=1, bias=False),
    nn.Conv2d(3, 8, (3, 1), stride=2, padding="valid", bias=False),
    nn.Conv2d(3, 8, 3, padding="same", dilation=2, bias=False),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=["padded", "strided", "dilated"])
def test_input_columns_times_the_matrix_is_the_convolution(layer):
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 9, 7)
    flat = input_columns(layer, inputs) @ layer.weight.reshape(8, -1).T
    assert torch.allclose(flat, layer(inputs).permute(0, 2, 3, 1).reshape(-1, 8), atol=1e-5)


def test_moments_are_sums_over_batches(network):
    torch.manual_seed(0)
    batches = [(torch.randn(4, 1, 16, 16), torch.zeros(4)) for _ in range(3)]
    moments = input_moments(network, ["first"], batches, passes=2)["first"]
    seen = torch.cat([inputs.flatten(1) for inputs, _ in batches[:2]])
    assert torch.allclose(moments, seen.T @ seen, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", [BlockColumnRow(0.75, block=(4, 16)), Unstructured(0.75)])
def test_outputs_are_kept_better_than_by_projection(scheme):
    torch.manual_seed(0)
    mixing = torch.randn(32, 32) / 5
    inputs, weight = torch.randn(500, 32) @ mixing, torch.randn(16, 32)
    rebuilt = reconstruct(weight, inputs.T @ inputs, scheme)

    def error(other):
        return float((inputs @ (other - weight).T).norm())

    assert scheme.contains(rebuilt)
    assert error(rebuilt) < 0.8 * error(scheme.project(weight))


def test_inputs_that_are_always_zero_do_no_harm():
    torch.manual_seed(0)
    inputs = torch.randn(100, 32)
    inputs[:, ::2] = 0
    rebuilt = reconstruct(torch.randn(8, 32), inputs.T @ inputs, BlockColumnRow(0.5, block=(4, 32)))
    assert rebuilt.isfinite().all()
    assert not rebuilt[:, ::2].any()


def test_it_keeps_more_accuracy_than_one_shot_without_any_training(make, data, plan, accuracy):
    dense = make()
    train(dense, data, 8, learning_rate=0.1)
    simple, rebuilt = copy.deepcopy(dense), copy.deepcopy(dense)
    begin(OneShot(), simple, plan).finish()
    begin(Reconstruction(data.train), rebuilt, plan).finish()
    assert accuracy(rebuilt) > accuracy(simple) + 0.05
    for name, scheme in plan.resolve(rebuilt).items():
        assert scheme.contains(rebuilt.get_parameter(name))


def test_a_layer_of_another_kind_is_named():
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2))
    session = begin(
        Reconstruction([(torch.zeros(1, 8, 5, 5), torch.zeros(1))]),
        network,
        Plan((Rule("0", Unstructured(0.5)),)),
    )
    with pytest.raises(SpokeshaveError, match="0 is a Conv2d; the inputs of linear layers"):
        session.finish()


def test_a_stream_serves_as_well_as_a_list(make, plan, data):
    batches = list(data.train)[:3]
    networks = [make(), make()]
    for network, given in zip(networks, (batches, iter(batches)), strict=True):
        begin(Reconstruction(given), network, plan).finish()
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
