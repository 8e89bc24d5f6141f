"""Expert-wise distillation against its formula, on transformers' Mixtral."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ExpertDistillation, MaskedFineTuning, Together, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.unstructured import Unstructured

transformers = pytest.importorskip("transformers")
NOTHING = Plan(())
EXPERTS = Plan(tuple(Rule(f"model.layers.{layer}.mlp.experts", Unstructured(0.5)) for layer in range(2)))


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    more = {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_local_experts": 4,
        "initializer_range": 0.2,
    }
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes, **more)).eval()


@pytest.fixture
def student(teacher):
    """Half of every row of every expert is zero."""
    network = copy.deepcopy(teacher).train()
    with torch.no_grad():
        for layer in network.model.layers:
            for weight in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                weight.mul_(weight.abs() > weight.abs().median(dim=-1, keepdim=True).values)
    return network


@pytest.fixture
def ids():
    return torch.randint(40, (3, 10), generator=torch.Generator().manual_seed(1))


def by_hand(student, teacher, ids, own_states):
    """The sum over layers and experts, every expert run as a layer of its own."""
    seen = {}
    for key, network in (("teacher", teacher), ("student", student)):
        for number, layer in enumerate(network.model.layers):
            layer.mlp.register_forward_pre_hook(
                lambda _, inputs, at=(key, number): seen.update({at: inputs[0].flatten(0, 1)})
            )
        network(ids)
    total = torch.zeros(())
    for number, (ours, theirs) in enumerate(zip(student.model.layers, teacher.model.layers, strict=True)):
        taught = seen["teacher", number]
        chosen = (taught @ theirs.mlp.gate.weight.T).topk(2, dim=1).indices
        for expert in range(4):
            rows = [row for row in range(len(chosen)) if expert in chosen[row].tolist()]
            if not rows:
                continue
            outputs = []
            for block, states in (
                (theirs, taught),
                (ours, seen["student", number] if own_states else taught),
            ):
                both, down = block.mlp.experts.gate_up_proj[expert], block.mlp.experts.down_proj[expert]
                gate, up = (states[rows] @ both.T).split(24, dim=1)
                outputs.append((F.silu(gate) * up) @ down.T)
            total = total + (outputs[0] - outputs[1]).square().mean()
    return total


@pytest.mark.parametrize("own_states", [False, True])
def test_the_penalty_is_the_formula_s(student, teacher, ids, own_states):
    session = begin(ExpertDistillation(teacher, 0.5, own_states), student, NOTHING)
    student(ids)
    penalty = session.penalty()
    session.finish()
    wanted = 0.5 * by_hand(student, teacher, ids, own_states)
    torch.testing.assert_close(penalty, wanted)
    wanted_gradients = torch.autograd.grad(wanted, list(student.parameters()), allow_unused=True)
    found_gradients = torch.autograd.grad(penalty, list(student.parameters()), allow_unused=True)
    for found, gradient in zip(found_gradients, wanted_gradients, strict=True):
        assert (found is None) == (gradient is None)
        if found is not None:
            torch.testing.assert_close(found, gradient, atol=1e-6, rtol=1e-4)


def test_balance_makes_the_penalty_weigh_as_much_as_the_loss_at_the_start(student, teacher, ids):
    session = begin(ExpertDistillation(teacher), student, NOTHING)
    loss = student(ids, labels=ids).loss
    with pytest.raises(SpokeshaveError, match="call balance"):
        session.penalty()
    session.balance(loss)
    torch.testing.assert_close(session.penalty(), loss)
    session.balance(100 * loss)
    torch.testing.assert_close(session.penalty(), loss)
    again = begin(ExpertDistillation(teacher), student, NOTHING)
    again.restore(session.state())
    assert float(again.state()["strength"]) == float(session.state()["strength"])


def test_training_draws_experts_nearer_and_keeps_zeros(student, teacher, ids):
    masked = begin(MaskedFineTuning(), student, EXPERTS)
    experts = begin(ExpertDistillation(teacher, 1.0), student, NOTHING)
    session = Together((masked, experts))
    before = [weight.detach() == 0 for weight in student.model.layers[0].mlp.experts.parameters()]
    assert all(int(zeros.sum()) >= zeros.numel() // 2 for zeros in before)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    distances = []
    for _ in range(20):
        student(ids)
        loss = session.penalty()
        distances.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.after_step()
    session.finish()
    assert distances[-1] < 0.5 * distances[0]
    for weight, zeros in zip(student.model.layers[0].mlp.experts.parameters(), before, strict=True):
        assert bool((weight[zeros] == 0).all())


def test_the_unpruned_network_is_at_no_distance(teacher, ids):
    network = copy.deepcopy(teacher).train()
    session = begin(ExpertDistillation(teacher, 1.0), network, NOTHING)
    network(ids)
    assert session.penalty().item() == 0


def test_mistakes_are_sentences(student, teacher, ids):
    with pytest.raises(SpokeshaveError, match="strength must be above 0"):
        ExpertDistillation(teacher, 0.0)
    with pytest.raises(SpokeshaveError, match=r"ExpertDistillation needs a network, .*, not None"):
        ExpertDistillation(None)
    with pytest.raises(SpokeshaveError, match="ExpertDistillation: the teacher is the network itself"):
        begin(ExpertDistillation(student), student, NOTHING)
    with pytest.raises(SpokeshaveError, match="Linear has no fused experts"):
        begin(ExpertDistillation(teacher), nn.Linear(2, 2), NOTHING)
    with pytest.raises(SpokeshaveError, match="the teacher has no experts model"):
        begin(ExpertDistillation(nn.Linear(2, 2)), student, NOTHING)
    session = begin(ExpertDistillation(teacher, 1.0), student, NOTHING)
    with pytest.raises(SpokeshaveError, match="there was none"):
        session.penalty()
