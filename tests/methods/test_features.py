import pytest
import torch
from safetensors.torch import load, save

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, FeatureDistillation, OneShot, Together, begin, train


def test_the_penalty_is_the_relative_distance_of_the_features(make, plan, data):
    student, teacher = make(), make(seed=1)
    inputs, _ = next(iter(data.train))
    session = begin(FeatureDistillation(teacher, ("relu", "second"), 0.5), student, plan)
    student.train()
    student(inputs)
    distance = 0
    for depth in (3, 4):
        found, wanted = student[:depth](inputs), teacher[:depth](inputs)
        distance += (found - wanted).square().sum() / wanted.square().sum()
    penalty = session.penalty()
    assert torch.allclose(penalty, 0.5 * distance, rtol=1e-5)
    penalty.backward()
    assert student.first.weight.grad.any()
    assert student.head.weight.grad is None
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_it_draws_the_features_together_while_another_method_prunes(make, plan, data, accuracy):
    teacher = make(seed=1)
    train(teacher, data, 6, learning_rate=0.1)
    inputs, _ = next(iter(data.held_out))
    gaps = []
    for strength in (1e-9, 1.0):
        student = make()
        student.load_state_dict(teacher.state_dict())
        both = Together(
            (
                begin(FeatureDistillation(teacher, ("relu2",), strength), student, plan),
                begin(ADMM(rho=0.2), student, plan),
            )
        )
        train(student, data, 3, session=both)
        both.finish()
        assert max(both.residuals().values()) == 0
        gaps.append(float((student[:5](inputs) - teacher[:5](inputs)).detach().square().mean()))
        assert not student._forward_pre_hooks
    assert gaps[1] < gaps[0]
    assert accuracy(student) > 0.75


def test_states_of_several_sessions_keep_apart(make, plan):
    def sessions():
        network = make()
        return Together((begin(ADMM(rho=0.2), network, plan), begin(ADMM(rho=0.4), network, plan)))

    first, second = sessions(), sessions()
    first.after_epoch()
    second.restore(load(save(first.state())))
    assert second.state().keys() == first.state().keys()
    assert all(torch.equal(second.state()[name], tensor) for name, tensor in first.state().items())
    with pytest.raises(SpokeshaveError, match="belongs to another"):
        second.restore(first.sessions[0].state())


def test_mistakes_are_one_sentence(make, network, plan, data):
    with pytest.raises(SpokeshaveError, match="name at least one layer"):
        FeatureDistillation(make(), ())
    with pytest.raises(SpokeshaveError, match="strength must be above 0"):
        FeatureDistillation(make(), ("relu",), 0)
    with pytest.raises(SpokeshaveError, match=r"FeatureDistillation needs a network, .*, not a Plan"):
        FeatureDistillation(plan, ("relu",))
    with pytest.raises(SpokeshaveError, match="Sequential has no layer 'third'"):
        begin(FeatureDistillation(make(), ("third",)), network, plan)
    session = begin(FeatureDistillation(make(), ("relu",)), network, plan)
    with pytest.raises(SpokeshaveError, match="there was none"):
        session.penalty()
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10))
    with pytest.raises(SpokeshaveError, match="has no layer 'first'"):
        begin(FeatureDistillation(other, ("first",)), network, plan)
    session.finish()
    session = begin(
        FeatureDistillation(other, ("1",)),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 9)),
        plan,
    )
    session._network.train()(next(iter(data.train))[0])
    with pytest.raises(SpokeshaveError, match=r"layer '1' gives \(128, 9\), the teacher's gives \(128, 10\)"):
        session.penalty()
    assert begin(OneShot(), network, plan) is not None
