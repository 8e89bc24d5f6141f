import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.criteria import Magnitude
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import (
    ADMM,
    MaskedFineTuning,
    OneShot,
    QuantizationAware,
    Reconstruction,
    ReweightedGroupLasso,
    begin,
)
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.unstructured import Unstructured

OPTIMIZERS = [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad]


def in_plan(network, plan):
    parameters = dict(network.named_parameters())
    return all(scheme.contains(parameters[name]) for name, scheme in plan.resolve(network).items())


@pytest.mark.parametrize("optimizer_type", OPTIMIZERS)
@pytest.mark.parametrize("method", [ADMM(rho=0.1), OneShot()])
def test_the_users_own_loop_ends_in_the_plan_with_any_optimizer(method, optimizer_type, network, data, plan):
    optimizer = optimizer_type(network.parameters(), lr=1e-3)
    session = begin(method, network, plan)
    torch.manual_seed(0)
    for _ in range(2):
        for images, labels in data.train:
            loss = F.cross_entropy(network(images), labels) + session.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            session.after_step()
        session.after_epoch()
    assert not in_plan(network, plan)
    session.finish()
    assert in_plan(network, plan)


def test_something_else_than_a_method(network, plan):
    with pytest.raises(SpokeshaveError, match="'admm' is no method"):
        begin("admm", network, plan)


def test_something_else_than_a_network_or_a_plan(network, plan):
    with pytest.raises(SpokeshaveError, match=r"begin needs a network, a torch\.nn\.Module, not None"):
        begin(ADMM(), None, plan)
    with pytest.raises(SpokeshaveError, match="Reconstruction needs batches"):
        Reconstruction(None)
    with pytest.raises(SpokeshaveError, match=r"begin needs a plan, such as .*, not {'head': 'x'}"):
        begin(ADMM(), network, {"head": "x"})


@pytest.mark.parametrize("method", [ADMM(), OneShot(), MaskedFineTuning(), Reconstruction(())])
def test_a_plan_that_leaves_everything_dense(method, network):
    with pytest.raises(SpokeshaveError, match="leaves every weight of the network dense"):
        begin(method, network, Plan((Rule("*", None),)))


@pytest.mark.parametrize("method", [ADMM(), OneShot(), Reconstruction(())])
def test_a_state_of_something_else_is_refused(method, network, plan):
    with pytest.raises(SpokeshaveError, match="belongs to another network, plan or method"):
        begin(method, network, plan).restore({"auxiliary.first.weight": torch.zeros(3)})


@pytest.mark.parametrize(
    ("method", "called", "complaint"),
    [
        (ADMM(), ("penalty", "after_step"), r"never let ADMM work: call after_epoch\(\)"),
        (ADMM(update_steps=2), ("penalty", "after_epoch"), r"never let ADMM work: call after_step\(\)"),
        (ADMM(), ("after_step", "after_epoch"), r"never let ADMM work: add penalty\(\)"),
        (ReweightedGroupLasso(), ("after_step", "after_epoch"), "never let ReweightedGroupLasso work"),
    ],
)
def test_a_loop_that_skips_a_hook_is_told(method, called, complaint, network, plan):
    before = network.first.weight.detach().clone()
    session = begin(method, network, plan)
    for hook in called:
        getattr(session, hook)()
    with pytest.raises(SpokeshaveError, match=complaint):
        session.finish()
    assert torch.equal(network.first.weight, before)


def test_a_resumed_session_may_finish_at_once(network, plan):
    before, session = begin(ADMM(), network, plan), begin(ADMM(), network, plan)
    before.after_epoch()
    session.restore(before.state())
    session.finish()
    assert in_plan(network, plan)


@pytest.mark.parametrize("hook", ["penalty", "after_step", "after_epoch", "finish"])
def test_nothing_comes_after_the_end(hook, network, plan):
    session = begin(OneShot(), network, plan)
    session.finish()
    with pytest.raises(SpokeshaveError, match=rf"session of OneShot has finished, {hook}\(\) comes too late"):
        getattr(session, hook)()


def test_a_weight_that_was_replaced_meanwhile_is_told(network, plan):
    session, state = begin(OneShot(), network, plan), {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    (name, *_) = plan.resolve(network)
    with pytest.raises(SpokeshaveError, match=rf"{name} was replaced .* after OneShot had begun"):
        session.finish()
    network.load_state_dict(state)
    again = begin(OneShot(), network, plan)
    network.load_state_dict(state)
    again.finish()
    assert in_plan(network, plan)


def test_a_lazy_layer_must_have_seen_a_batch():
    network = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 8))
    plan = Plan((Rule("*", Unstructured(0.5)),))
    with pytest.raises(SpokeshaveError, match=r"begin: 0\.weight has no values yet"):
        begin(OneShot(), network, plan)
    network(torch.zeros(1, 4))
    begin(OneShot(), network, plan).finish()
    assert in_plan(network, plan)


@pytest.mark.parametrize(
    "method", [ADMM(), OneShot(), OneShot(Magnitude()), ReweightedGroupLasso(), Reconstruction(())]
)
def test_weights_of_which_none_ranks_above_another_are_named_and_nothing_is_changed(method, network, plan):
    session = begin(method, network, plan)
    before = network.first.weight.detach().clone()
    for hook in (session.penalty, session.after_step, session.after_epoch):
        hook()
    torch.nn.init.zeros_(network.second.weight)
    with pytest.raises(SpokeshaveError, match=r"^second\.weight is all zeros, so none of its weights ranks"):
        session.finish()
    assert torch.equal(network.first.weight, before)


def test_zeros_that_lie_in_a_scheme_of_levels_stay(network):
    plan = Plan((Rule("second", FixedPoint(4)),))
    torch.nn.init.zeros_(network.second.weight)
    begin(OneShot(), network, plan).finish()
    assert not network.second.weight.any()


@pytest.mark.parametrize("method", [ADMM(), OneShot(), MaskedFineTuning(), QuantizationAware()])
def test_a_weight_with_nan_is_named(method, network, plan):
    network.first.weight.data[3, 5] = torch.nan
    with pytest.raises(SpokeshaveError, match=r"^first\.weight holds infinite values or NaN"):
        begin(method, network, plan)


@pytest.mark.parametrize("method", [ADMM(), ReweightedGroupLasso(), QuantizationAware()], ids=str)
def test_a_frozen_weight_cannot_be_trained(method):
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    network[0].weight.requires_grad_(False)
    plan = Plan((Rule("0", Unstructured(0.5) & FixedPoint(4)),))
    with pytest.raises(SpokeshaveError, match=r"0.weight is frozen \(requires_grad is False\), so training"):
        begin(method, network, plan)
