import pytest
import torch
from safetensors.torch import load, save

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, Distillation, FeatureDistillation, OneShot, Together, begin, train
from spokeshave.plan import Plan

NOTHING = Plan(())


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


class Nested(torch.nn.Module):
    """A layer that gives a dictionary, and one that takes no part."""

    def __init__(self):
        super().__init__()
        self.first, self.idle = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.inner = Named()

    def forward(self, inputs):
        return self.inner(self.first(inputs))["found"]


class Named(torch.nn.Module):
    def forward(self, inputs):
        return {"found": inputs}


@pytest.mark.parametrize("layers", ["first", 3, (), (0,), None])
def test_layers_are_told_by_their_names(make, layers):
    with pytest.raises(SpokeshaveError, match="layers must be the names of one or more"):
        FeatureDistillation(make(), layers)


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (("first", "idle"), "layer 'idle' took no part"),
        (("inner",), "what layer 'inner' gives must be a tensor"),
    ],
)
def test_features_that_cannot_be_compared(layers, sentence):
    student = Nested()
    session = begin(FeatureDistillation(Nested(), layers), student, NOTHING)
    student.train()(torch.zeros(2, 4))
    with pytest.raises(SpokeshaveError, match=sentence):
        session.penalty()


def test_a_pass_in_evaluation_is_compared_with_nothing(make, data):
    student = make()
    inputs, _ = next(iter(data.train))
    session = begin(FeatureDistillation(make(seed=1), ("relu",)), student, NOTHING)
    student.train()(inputs)
    student.eval()(inputs + 1)
    with pytest.raises(SpokeshaveError, match="in training mode"):
        session.penalty()


def test_a_teacher_of_other_inputs():
    student = torch.nn.Sequential(torch.nn.Linear(4, 4))
    begin(FeatureDistillation(torch.nn.Sequential(torch.nn.Linear(5, 4)), ("0",)), student, NOTHING)
    with pytest.raises(SpokeshaveError, match="the teacher cannot run on the network's inputs"):
        student.train()(torch.zeros(2, 4))


@pytest.mark.parametrize("method", [lambda one: FeatureDistillation(one, ("relu",)), Distillation])
def test_nobody_teaches_itself(make, method):
    network = make()
    with pytest.raises(SpokeshaveError, match="the teacher is the network itself"):
        begin(method(network), network, NOTHING)
