import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.pytorch_utils import Conv1D

from spokeshave.criteria.layer_matrices import input_columns, matrices_of, weight_of
from spokeshave.criteria.recurrent_inputs import cell_inputs, recurrent_inputs
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, Reconstruction, begin, train
from spokeshave.methods.least_squares import reconstruct
from spokeshave.methods.moments import input_moments
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.quantizers import Codebook, FixedPoint
from spokeshave.schemes.unstructured import Unstructured

CONVOLUTIONS = {
    "padded": nn.Conv2d(4, 8, 3, padding=1, bias=False),
    "strided": nn.Conv2d(4, 8, (3, 1), stride=2, padding="valid", bias=False),
    "dilated": nn.Conv2d(4, 8, 3, padding="same", dilation=2, bias=False),
    "grouped": nn.Conv2d(4, 8, 3, groups=2, padding=1, bias=False),
    "depthwise": nn.Conv2d(4, 8, 3, groups=4, padding_mode="reflect", padding=1, bias=False),
    "sequence": nn.Conv1d(4, 8, 4, stride=3, groups=2, padding=2, padding_mode="circular", bias=False),
    "volume": nn.Conv3d(4, 8, (1, 2, 3), bias=False),
    "transposed": nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=(1, 0), bias=False),
    "transposed, grouped": nn.ConvTranspose1d(4, 8, 4, groups=2, dilation=2, padding=7, bias=False),
    "transposed volume": nn.ConvTranspose3d(4, 8, (1, 2, 3), stride=(1, 3, 2), bias=False),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_input_columns_times_the_matrix_is_the_convolution(name):
    torch.manual_seed(0)
    layer = CONVOLUTIONS[name]
    inputs = torch.randn(2, 4, *(9, 7, 8)[: len(layer.kernel_size)])
    matrices = matrices_of(layer, layer.weight)
    assert torch.equal(weight_of(layer, matrices, layer.weight.shape), layer.weight)
    flat = torch.cat(list(input_columns(layer, inputs) @ matrices.transpose(1, 2)), 1)
    assert torch.allclose(flat, layer(inputs).movedim(1, -1).reshape(-1, 8), atol=1e-5)


def test_segments_along_channels_of_a_convolution():
    """Their projection is no contiguous tensor."""
    torch.manual_seed(0)
    network, scheme = nn.Sequential(nn.Conv2d(4, 8, 3)), NOfM(2, 4)
    batches = [(torch.randn(8, 4, 7, 7), torch.zeros(8))]
    begin(Reconstruction(batches), network, Plan((Rule("0", scheme),))).finish()
    assert scheme.contains(network[0].weight.detach())


def test_depthwise_matrices_are_refitted_group_by_group():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, groups=4, padding=1, bias=False)
    batches = [(torch.randn(64, 4, 6, 6) * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1), torch.zeros(64))]
    wanted = layer(batches[0][0])
    simple = F.conv2d(batches[0][0], Unstructured(0.5).project(layer.weight), padding=1, groups=4)
    network = nn.Sequential(layer)
    begin(Reconstruction(batches), network, Plan((Rule("0", Unstructured(0.5)),))).finish()
    assert layer.weight.count_nonzero() == 18
    assert (network(batches[0][0]) - wanted).norm() < (simple - wanted).norm()


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(6, 5, 2, bidirectional=True, batch_first=True),
        nn.LSTM(6, 5),
        nn.RNN(6, 5, nonlinearity="relu", bias=False),
    ],
)
def test_recurrent_matrices_are_refitted_on_steps_and_states(layer):
    torch.manual_seed(0)
    network = nn.Sequential(layer)
    sizes = torch.logspace(-1, 1, 6)
    batches = [(torch.randn(12, 12, 6) * sizes, torch.zeros(12)) for _ in range(4)]
    wanted = layer(batches[0][0])[0].detach()
    simple, plan = copy.deepcopy(network), Plan((Rule("*weight_[ih]h*", Unstructured(0.3)),))
    begin(OneShot(), simple, plan).finish()
    begin(Reconstruction(batches), network, plan).finish()
    errors = [(one(batches[0][0])[0] - wanted).norm() for one in (network, simple)]
    assert errors[0] < errors[1]
    for name, scheme in plan.resolve(network).items():
        assert scheme.contains(network.get_parameter(name))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("layer", [nn.GRU(6, 5, 2, bidirectional=True), nn.LSTM(6, 5, 2, proj_size=3)])
def test_recurrent_inputs_begin_at_the_users_states_and_follow_the_layers_own(layer):
    torch.manual_seed(0)
    steps, (outputs, last) = torch.randn(7, 3, 6), layer(torch.randn(4, 3, 6))
    rows = recurrent_inputs(layer, steps, last)
    first = last[0] if isinstance(last, tuple) else last
    width = outputs.shape[-1] // (2 if layer.bidirectional else 1)
    states = rows["weight_hh_l1"].view(7, 3, width)
    assert torch.equal(states[0], first[2 if layer.bidirectional else 1])
    assert torch.allclose(states[1:], layer(steps, last)[0][:-1, :, :width], atol=1e-6)
    assert torch.equal(rows["weight_ih_l0"].view(7, 3, 6), steps)


def test_cells_meet_their_step_and_state():
    rows = cell_inputs(nn.LSTMCell(3, 2), torch.ones(4, 3), (torch.full((4, 2), 2.0), torch.zeros(4, 2)))
    assert rows["weight_ih"].shape == (1, 4, 3)
    assert rows["weight_hh"].unique().tolist() == [2.0]
    assert not cell_inputs(nn.GRUCell(3, 2), torch.ones(4, 3))["weight_hh"].any()


def test_moments_are_sums_over_batches(network):
    torch.manual_seed(0)
    batches = [(torch.randn(4, 1, 16, 16), torch.zeros(4)) for _ in range(3)]
    moments = input_moments(network, ["first.weight"], batches, passes=2)["first.weight"][0]
    seen = torch.cat([inputs.flatten(1) for inputs, _ in batches[:2]])
    assert torch.allclose(moments, seen.T @ seen, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", [BlockColumnRow(0.75, block=(4, 16)), Unstructured(0.75)])
def test_outputs_are_kept_better_than_by_projection(scheme):
    torch.manual_seed(0)
    mixing = torch.randn(32, 32) / 5
    inputs, weight = torch.randn(500, 32) @ mixing, torch.randn(16, 32)
    rebuilt = reconstruct(weight, (inputs.T @ inputs)[None], scheme)

    def error(other):
        return float((inputs @ (other - weight).T).norm())

    assert scheme.contains(rebuilt)
    assert error(rebuilt) < 0.8 * error(scheme.project(weight))


@pytest.mark.parametrize(
    "scheme", [FixedPoint(3), Codebook(2), BlockColumnRow(0.5, (4, 16)) & FixedPoint(4)], ids=str
)
def test_weights_of_few_levels_end_in_their_levels(scheme):
    torch.manual_seed(0)
    inputs, weight = torch.randn(500, 32) @ (torch.randn(32, 32) / 5), torch.randn(16, 32)
    rebuilt = reconstruct(weight, (inputs.T @ inputs)[None], scheme)
    errors = [(inputs @ (other - weight).T).norm() for other in (rebuilt, scheme.project(weight))]
    assert scheme.contains(rebuilt)
    assert errors[0] <= errors[1] * 1.0001


@pytest.mark.parametrize("sparse", [BlockColumnRow(0.75, (4, 16)), Unstructured(0.75)], ids=str)
def test_levels_of_what_was_pruned_cost_hardly_more_than_pruning(sparse):
    """Eight bits lose little; what is left must have been fitted before it is rounded."""
    torch.manual_seed(0)
    inputs, weight = torch.randn(500, 32) @ (torch.randn(32, 32) / 5), torch.randn(16, 32)
    both = sparse & FixedPoint(8)
    rebuilt = [reconstruct(weight, (inputs.T @ inputs)[None], scheme) for scheme in (sparse, both)]
    errors = [float((inputs @ (other - weight).T).norm()) for other in rebuilt]
    assert both.contains(rebuilt[1])
    assert errors[1] < 1.02 * errors[0]


def test_inputs_that_are_always_zero_do_no_harm():
    torch.manual_seed(0)
    inputs = torch.randn(100, 32)
    inputs[:, ::2] = 0
    rebuilt = reconstruct(torch.randn(8, 32), (inputs.T @ inputs)[None], BlockColumnRow(0.5, block=(4, 32)))
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


@pytest.mark.parametrize(
    ("scheme", "limit"),
    [(Unstructured(0.6), 0.95), (BlockColumnRow(0.5, (2, 4)), 0.95), (FixedPoint(3), 1.0001)],
    ids=str,
)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2), (6, 5, 5)), (Conv1D(8, 12), (9, 12))],
    ids=["transposed convolution", "Conv1D"],
)
def test_weights_with_a_row_for_each_input_are_refitted(layer, shape, scheme, limit):
    torch.manual_seed(0)
    network = nn.Sequential(copy.deepcopy(layer))
    batches = [(torch.randn(16, *shape).cumsum(1).cumsum(-1), torch.zeros(16))]  # neighbours are alike
    wanted = network(batches[0][0]).detach()
    simple, plan = copy.deepcopy(network), Plan((Rule("0", scheme),))
    begin(OneShot(), simple, plan).finish()
    begin(Reconstruction(batches), network, plan).finish()
    errors = [(one(batches[0][0]) - wanted).norm() for one in (network, simple)]
    assert errors[0] < limit * errors[1]
    assert scheme.contains(network[0].weight.detach())


def test_a_layer_of_another_kind_is_named():
    plan, batches = Plan((Rule("0", Unstructured(0.5)),)), [(torch.zeros(1, 8), torch.zeros(1))]
    session = begin(Reconstruction(batches), nn.Sequential(nn.Bilinear(8, 8, 2)), plan)
    with pytest.raises(SpokeshaveError, match="0 is a Bilinear; the inputs of linear layers"):
        session.finish()


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_the_projection_of_a_state_is_named():
    plan, batches = Plan((Rule("*_hr_*", Unstructured(0.5)),)), [(torch.zeros(1, 4, 6), torch.zeros(1))]
    session = begin(Reconstruction(batches), nn.Sequential(nn.LSTM(6, 5, proj_size=3)), plan)
    with pytest.raises(
        SpokeshaveError, match=r"0\.weight_hr_l0 projects the state of an LSTM.*leave it dense"
    ):
        session.finish()


def test_a_layer_that_nothing_flows_through_is_named():
    network = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    network.forward = lambda inputs: network["used"](inputs)
    plan = Plan((Rule("unused", Unstructured(0.5)),))
    session = begin(Reconstruction([(torch.zeros(1, 4), torch.zeros(1))]), network, plan)
    with pytest.raises(SpokeshaveError, match=r"nothing flows through the layer of unused\.weight"):
        session.finish()


def test_a_stream_serves_as_well_as_a_list(make, plan, data):
    batches = list(data.train)[:3]
    networks = [make(), make()]
    for network, given in zip(networks, (batches, iter(batches)), strict=True):
        begin(Reconstruction(given), network, plan).finish()
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
