import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, QuantizationAware, begin, train
from spokeshave.methods.training import sgd
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import Binary, FixedPoint, PowerOfTwo
from spokeshave.schemes.unstructured import Unstructured

TWO_BITS = Plan((Rule("head", None), Rule("*", FixedPoint(2, "row"))))


def test_the_network_sees_the_projection_and_the_gradient_goes_straight_through(network, data):
    scheme = BlockColumnRow(0.5, (8, 32)) & FixedPoint(4)
    inputs, _ = next(iter(data.train))
    parameter, weight = network.first.weight, network.first.weight.detach().clone()
    session = begin(QuantizationAware(), network, Plan((Rule("first", scheme),)))
    expected = nn.functional.linear(inputs.flatten(1), scheme.project(weight), network.first.bias)
    seen = network[:2](inputs)
    assert torch.equal(seen, expected)
    seen.sum().backward()
    assert torch.allclose(parameter.grad, inputs.flatten(1).sum(0).expand_as(parameter), rtol=1e-5, atol=1e-3)
    session.finish()
    assert network.first.weight is parameter
    assert torch.equal(parameter, scheme.project(weight))


@pytest.mark.parametrize("scheme", [FixedPoint(2), PowerOfTwo(2), Binary()], ids=str)
def test_it_beats_projecting_a_trained_network(make, data, accuracy, scheme):
    plan, scores = Plan((Rule("head", None), Rule("*", scheme))), {}
    for method in (OneShot(), QuantizationAware()):
        network = make()
        train(network, data, 3, learning_rate=0.1)
        session = begin(method, network, plan)
        if isinstance(method, QuantizationAware):
            train(network, data, 3, learning_rate=0.02, session=session)
        session.finish()
        for name, planned in plan.resolve(network).items():
            assert planned.contains(network.get_parameter(name).detach())
        scores[type(method)] = accuracy(network)
    assert scores[QuantizationAware] > scores[OneShot]


def test_a_learned_step_is_learned_and_ends_in_the_scheme(make, data, accuracy):
    network = make()
    train(network, data, 3, learning_rate=0.1)
    session = begin(QuantizationAware(learned_step=True), network, TWO_BITS)
    before = [step.detach().clone() for step in session.steps]
    optimizer = sgd(network, 0.02)
    assert {id(step) for step in session.steps} <= {
        id(p) for group in optimizer.param_groups for p in group["params"]
    }
    train(network, data, 3, optimizer=optimizer, session=session)
    assert all(not torch.equal(step, old) for step, old in zip(session.steps, before, strict=True))
    network.eval()
    inputs, _ = next(iter(data.held_out))
    seen = network(inputs).detach()
    session.finish()
    assert TWO_BITS.rules[1].scheme.contains(network.first.weight.detach())
    assert torch.allclose(network(inputs), seen, rtol=1e-2, atol=1e-2 * float(seen.abs().max()))
    assert accuracy(network) > 0.9


def test_the_steps_gradient_is_that_of_the_paper():
    """Inside the range round(w / s) - w / s, outside the most levels; times the gradient scale (equations 3 and 5)."""
    network = nn.Sequential(nn.Linear(4, 1, bias=False))
    network[0].weight.data = torch.tensor([[0.3, -0.9, 2.0, -7.0]])
    session = begin(QuantizationAware(learned_step=True), network, Plan((Rule("0", FixedPoint(3)),)))
    (step,) = session.steps
    with torch.no_grad():
        step.fill_(1.0)
    network(torch.ones(1, 4)).sum().backward()
    expected = (0 - 0.3) + (-1 + 0.9) + 0 - 3
    assert step.grad.item() == pytest.approx(expected / (3 * 4) ** 0.5, rel=1e-5)
    gradient = network[0].parametrizations.weight.original.grad
    assert gradient.tolist() == [[1, 1, 1, 0]]


def test_recurrent_weights_act_as_their_projection():
    torch.manual_seed(0)
    layer, x = nn.GRU(5, 6, batch_first=True), torch.randn(2, 7, 5)
    reference = nn.GRU(5, 6, batch_first=True)
    reference.load_state_dict(layer.state_dict())
    plan = Plan((Rule("weight_hh_l0", FixedPoint(2)),))
    begin(OneShot(), reference, plan).finish()
    session = begin(QuantizationAware(), layer, plan)
    assert torch.equal(layer(x)[0], reference(x)[0])
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight_hh_l0.original.grad.any()
    session.finish()
    assert torch.equal(layer(x)[0], reference(x)[0])


def test_a_restored_session_goes_on_alike(make, data):
    method = QuantizationAware(learned_step=True)
    first, second = make(), make(seed=1)
    session = begin(method, first, TWO_BITS)
    train(first, data, 1, optimizer=sgd(first, 0.02), session=session)
    again = begin(method, second, TWO_BITS)
    again.restore(load(save(session.state())))
    assert all(torch.equal(a, b) for a, b in zip(again.steps, session.steps, strict=True))
    with pytest.raises(SpokeshaveError, match="another network, plan or method"):
        begin(OneShot(), make(), TWO_BITS).restore(session.state())


@pytest.mark.parametrize(
    ("method", "what"),
    [(QuantizationAware(learned_step=True), "learn"), (QuantizationAware(fixed_step=True), "fix")],
)
def test_only_fixed_point_has_a_step(network, method, what):
    with pytest.raises(
        SpokeshaveError, match=f"first.weight: only FixedPoint has a step to {what}, not Binary"
    ):
        begin(method, network, Plan((Rule("first", Binary()),)))


def test_a_weight_that_diverged_is_named(network, data):
    begin(QuantizationAware(), network, Plan((Rule("first", Binary()),)))
    with torch.no_grad():
        network.first.parametrizations.weight.original.fill_(torch.nan)
    with pytest.raises(SpokeshaveError, match=r"first\.weight: .* holds infinite values or NaN"):
        network(next(iter(data.train))[0])


def test_a_step_is_learned_or_fixed():
    with pytest.raises(SpokeshaveError, match="a step is learned or fixed, not both"):
        QuantizationAware(learned_step=True, fixed_step=True)


@pytest.mark.parametrize("per", ["row", "tensor"])
def test_fixed_steps_and_zeros_are_those_of_the_start(make, data, accuracy, per):
    """All weights are multiples of the first steps, to the bit, after training as before it; and training helps."""
    pruned, levels = Plan((Rule("head", None), Rule("*", Unstructured(0.9)))), FixedPoint(3, per)
    plan, network = Plan((Rule("head", None), Rule("*", levels))), make()
    train(network, data, 3, learning_rate=0.1)
    begin(OneShot(), network, pruned).finish()
    weight = network.first.weight
    zero, steps = weight == 0, levels.encode(levels.project(weight.detach())).scales.view(-1, 1)
    once = copy.deepcopy(network)
    begin(OneShot(), once, plan).finish()
    session = begin(QuantizationAware(fixed_step=True), network, plan)
    assert torch.equal(network.first.weight, once.first.weight)
    train(network, data, 3, learning_rate=0.02, session=session)
    inputs, _ = next(iter(data.held_out))
    seen = network.eval()(inputs)
    session.finish()
    assert torch.equal(network(inputs), seen)
    multiples = weight.detach() / steps.where(steps > 0, 1)
    assert torch.equal(multiples, multiples.round())
    assert multiples.abs().max() <= 3
    assert not weight[zero].any()
    assert accuracy(network) > accuracy(once)


def test_a_restored_session_keeps_the_first_steps(make):
    method, network = QuantizationAware(fixed_step=True), make()
    session, again = begin(method, network, TWO_BITS), begin(method, make(seed=1), TWO_BITS)
    steps, others = session.state(), again.state()
    assert not torch.equal(steps["step.first.weight"], others["step.first.weight"])
    again.restore(load(save(steps)))
    assert all(torch.equal(value, again.state()[key]) for key, value in steps.items())
