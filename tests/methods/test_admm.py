import copy

import pytest
import torch
from safetensors.torch import load, save

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, MaskedFineTuning, OneShot, begin, train
from spokeshave.methods.training import sgd
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow


@pytest.fixture(scope="module")
def trained(make, data):
    network = make()
    train(network, data, 8, learning_rate=0.1)
    return network


def worst(session):
    return max(session.residuals().values())


def fine_tune(network, data, plan, epochs, seed):
    session = begin(MaskedFineTuning(), network, plan)
    train(network, data, epochs, session=session, seed=seed)
    session.finish()


def test_the_penalty_is_the_augmented_lagrangians(network, plan):
    session = begin(ADMM(rho=0.2), network, plan)
    state = session.state()
    names = ["first.weight", "second.weight"]
    parameters = dict(network.named_parameters())
    gaps = [parameters[n] - state[f"auxiliary.{n}"] + state[f"multiplier.{n}"] for n in names]
    expected = 0.1 * sum(gap.square().sum() for gap in gaps)
    session.penalty().backward()
    assert torch.allclose(session.penalty(), expected)
    assert all(torch.allclose(parameters[n].grad, 0.2 * g) for n, g in zip(names, gaps, strict=True))


def test_it_begins_at_the_projection_with_no_multipliers(network, plan):
    state = begin(ADMM(), network, plan).state()
    weight = network.first.weight.detach()
    assert torch.equal(state["auxiliary.first.weight"], plan.rules[1].scheme.project(weight))
    assert not state["multiplier.first.weight"].any()


def test_an_update_keeps_the_unscaled_multiplier_when_rho_grows(network, plan):
    session = begin(ADMM(rho=0.1, rho_growth=2.0), network, plan)
    weight = network.first.weight.detach()
    session.after_epoch()
    state = session.state()
    nearest = plan.rules[1].scheme.project(weight)
    assert session.rho == 0.2
    assert torch.allclose(0.2 * state["multiplier.first.weight"], 0.1 * (weight - nearest))


def test_updates_come_by_epochs_or_by_steps(network, plan):
    by_epochs = begin(ADMM(rho=0.1, rho_growth=2.0, update_every=2), network, plan)
    by_steps = begin(ADMM(rho=0.1, rho_growth=2.0, update_steps=3), network, plan)
    for session in (by_epochs, by_steps):
        for _ in range(2):
            for _ in range(4):
                session.after_step()
            session.after_epoch()
    assert by_epochs.rho == 0.2
    assert by_steps.rho == 0.4


def test_rho_stops_at_its_limit(network, plan):
    session = begin(ADMM(rho=0.1, rho_growth=10, rho_limit=0.5), network, plan)
    session.after_epoch()
    assert session.rho == 0.5


def test_rho_grows_in_stages_also_after_a_restart(network, plan):
    method = ADMM(rho=1e-4, rho_growth=10, rho_limit=1e-2, stage_updates=3)
    session, seen = begin(method, network, plan), []
    for _ in range(8):
        seen.append(session.rho)
        session.after_epoch()
        state, session = session.state(), begin(method, network, plan)
        session.restore(state)
    assert seen == pytest.approx([1e-4] * 3 + [1e-3] * 3 + [1e-2] * 2)


def test_the_dual_residual_is_what_the_auxiliary_weights_moved_by(network, plan):
    session = begin(ADMM(), network, plan)
    assert set(session.dual_residuals().values()) == {0.0}
    before = session.state()["auxiliary.first.weight"]
    with torch.no_grad():
        network.first.weight.add_(torch.randn_like(network.first.weight))
    session.after_epoch()
    now = session.state()["auxiliary.first.weight"]
    expected = float((now - before).norm() / now.norm())
    assert session.dual_residuals()["first.weight"] == pytest.approx(expected)
    again = begin(ADMM(), network, plan)
    again.restore(session.state())
    assert again.dual_residuals() == session.dual_residuals()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": 0.0}, "rho must be above 0"),
        ({"rho_growth": 0.5}, "rho_growth must be at least 1"),
        ({"rho": "1"}, "rho must be above 0 and finite, not '1'"),
        ({"rho": 2.0}, "rho_limit must be at least 2 and finite, not 1.0"),
        ({"update_every": 0}, "update_every must be a whole number from 1 up"),
        ({"update_steps": -1}, "update_steps must be a whole number from 0 up"),
        ({"stage_updates": 1.5}, "stage_updates must be a whole number from 1 up"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(SpokeshaveError, match=message):
        ADMM(**settings)


@pytest.mark.parametrize(
    ("settings", "hook", "said"),
    [
        (
            {"update_every": 3},
            "after_epoch",
            r"after 2 calls of after_epoch\(\), before ADMM's first update at 3;",
        ),
        (
            {"update_steps": 3},
            "after_step",
            r"after 2 calls of after_step\(\), before ADMM's first update at 3;",
        ),
    ],
)
def test_a_training_that_ends_before_the_first_update_is_told(network, plan, settings, hook, said):
    session = begin(ADMM(**settings), network, plan)
    session.penalty()
    for _ in range(2):
        getattr(session, hook)()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(SpokeshaveError, match=said):
        session.finish()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    getattr(session, hook)()
    session.finish()


def test_the_residual_falls_and_the_network_ends_in_the_plan(trained, data, plan, accuracy):
    network = copy.deepcopy(trained)
    session = begin(ADMM(rho=0.1, rho_growth=1.5, rho_limit=3.0), network, plan)
    before = worst(session)
    train(network, data, 12, session=session)
    after = worst(session)
    session.finish()
    fine_tune(network, data, plan, 4, seed=1)
    assert before > 0.5
    assert after < 0.1 * before
    for name, scheme in plan.resolve(network).items():
        assert scheme.contains(network.get_parameter(name))
    assert accuracy(network) > 0.9


@pytest.mark.slow
def test_admm_keeps_up_with_one_shot_at_equal_density_and_equal_epochs(trained, data, accuracy):
    """No win is asserted: none stands out of the noise here.

    With the default settings, eight seeds, a dense network each and 355 held-out images, ADMM minus one-shot was
    +0.46 points (standard error 0.29) at 10 times fewer weights and +1.02 (0.88) at 20 times. Badly chosen rho
    costs 2 to 3 points, which is what this test would notice.
    """
    plan = Plan((Rule("head", None), Rule("*", BlockColumnRow(0.95, block=(8, 32)))))
    margins = []
    for seed in (3, 4, 5):
        ours, theirs = copy.deepcopy(trained), copy.deepcopy(trained)
        session = begin(ADMM(), ours, plan)
        train(ours, data, 8, session=session, seed=seed)
        session.finish()
        fine_tune(ours, data, plan, 8, seed + 100)
        begin(OneShot(), theirs, plan).finish()
        fine_tune(theirs, data, plan, 16, seed)
        margins.append(accuracy(ours) - accuracy(theirs))
    print("ADMM minus one-shot, held-out accuracy by seed:", [f"{100 * margin:+.2f} %" for margin in margins])
    assert sum(margins) / 3 > -0.02


def test_a_restored_session_goes_on_bit_for_bit(trained, data, plan):
    def run(network, optimizer, session, first, last):
        for epoch in range(first, last):
            torch.manual_seed(epoch)
            for images, labels in data.train:
                loss = torch.nn.functional.cross_entropy(network(images), labels) + session.penalty()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                session.after_step()
            session.after_epoch()

    method = ADMM(rho=0.05, update_steps=5)
    whole = copy.deepcopy(trained)
    optimizer, session = sgd(whole, 0.05), begin(method, whole, plan)
    run(whole, optimizer, session, 0, 2)
    saved = (
        load(save(session.state())),
        copy.deepcopy(whole.state_dict()),
        copy.deepcopy(optimizer.state_dict()),
    )
    run(whole, optimizer, session, 2, 4)

    resumed = copy.deepcopy(trained)
    again = begin(method, resumed, plan)
    resumed.load_state_dict(saved[1])
    again.restore(saved[0])
    optimizer = sgd(resumed, 0.05)
    optimizer.load_state_dict(saved[2])
    run(resumed, optimizer, again, 2, 4)
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(torch.equal(tensor, session.state()[name]) for name, tensor in again.state().items())
