import pytest
import torch
import torch.nn.functional as F

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import Distillation, Teacher, begin, train


def test_the_penalty_is_the_divergence_of_softened_scores(make, plan, data):
    student, teacher = make(), make(seed=1)
    inputs, _ = next(iter(data.train))
    session = begin(Distillation(teacher, strength=0.5, temperature=2.0), student, plan)
    student.train()
    found, wanted = student(inputs), teacher(inputs)
    softened = (F.log_softmax(scores / 2, 1) for scores in (found, wanted))
    expected = 0.5 * 4 * F.kl_div(*softened, reduction="batchmean", log_target=True)
    penalty = session.penalty()
    assert torch.allclose(penalty, expected, rtol=1e-5)
    penalty.backward()
    assert student.first.weight.grad.any()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_comes_to_answer_like_its_teacher(make, plan, data):
    teacher, student = make(seed=1), make()
    train(teacher, data, 4, learning_rate=0.1)
    inputs, _ = next(iter(data.held_out))

    @torch.no_grad()
    def agreement():
        return float((student.eval()(inputs).argmax(1) == teacher.eval()(inputs).argmax(1)).float().mean())

    before = agreement()
    session = begin(Distillation(teacher, strength=0.1), student, plan)
    train(student, data, 4, learning_rate=0.1, session=session, loss=lambda scores, labels: 0 * scores.sum())
    session.finish()
    assert agreement() > before + 0.3


def test_mistakes_are_one_sentence(make, plan, data):
    with pytest.raises(SpokeshaveError, match="temperature must be above 0"):
        Distillation(make(), temperature=0)
    for of in (Distillation, Teacher):
        with pytest.raises(
            SpokeshaveError, match=rf"{of.__name__} needs a network, a torch\.nn\.Module, not None"
        ):
            of(None)
    with pytest.raises(SpokeshaveError, match="Teacher: share must be at least 0"):
        Teacher(make(), share=-1)
    session = begin(Distillation(make()), make(), plan)
    with pytest.raises(SpokeshaveError, match="after a forward pass in training mode"):
        session.penalty()
    student = make()
    begin(Distillation(torch.nn.Sequential(make(), torch.nn.Linear(10, 3))), student, plan)
    with pytest.raises(SpokeshaveError, match=r"scores are \(\d+, 10\), the teacher's \(\d+, 3\)"):
        student.train()(next(iter(data.train))[0])
