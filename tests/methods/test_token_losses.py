import copy

import pytest
import torch
from tests.tokens.networks import images, network
from torch import nn

from spokeshave.data import Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import (
    Distillation,
    Together,
    TokenDistillation,
    TokenLatency,
    TokenRatio,
    begin,
    train,
)
from spokeshave.plan import Plan
from spokeshave.tokens import Gumbel, Learned, Package, TokenReducer, insert
from spokeshave.tokens.staircase import Staircase

NOTHING = Plan(())
BLOCK = Staircase((1, 17, 33), (1.0, 17.0, 33.0))


@pytest.fixture
def vit() -> nn.Module:
    return network("lv-vit").train()


def test_the_ratio_is_over_the_batch_or_of_every_sample(vit: nn.Module) -> None:
    reduced = insert(vit, TokenReducer(1, Learned(), Gumbel()))
    batch, each = (
        begin(TokenRatio((0.5,), 3.0), vit, NOTHING),
        begin(TokenRatio((0.5,), 3.0, True), vit, NOTHING),
    )
    vit(images(6))
    shares = reduced.kept[0].mean(1)
    torch.testing.assert_close(batch.penalty(), 3 * (shares.mean() - 0.5) ** 2)
    torch.testing.assert_close(each.penalty(), 3 * ((shares - 0.5) ** 2).mean())
    assert each.penalty() > batch.penalty()


def test_latency_is_that_of_the_mean_counts(vit: nn.Module) -> None:
    reduced = insert(vit, TokenReducer(2, Learned(), Gumbel()))
    session = begin(TokenLatency(BLOCK, 40.0, 5.0), vit, NOTHING)
    vit(images(6))
    cost = 2 * 17 + 2 * (1 + reduced.kept[0].sum(1).mean())
    torch.testing.assert_close(session.penalty(), 5 * (cost / 40 - 1) ** 2)
    session.penalty().backward()
    assert vit.token_selectors["2"].votes[0][0].weight.grad.any()
    with pytest.raises(
        SpokeshaveError, match=r"7e.03 ms cannot be met; one patch behind every reducer costs 8e.03 ms"
    ):
        begin(TokenLatency(BLOCK, 7.0), vit, NOTHING)


def test_only_tokens_that_stay_are_compared(vit: nn.Module) -> None:
    teacher = copy.deepcopy(vit)
    reduced = insert(vit, TokenReducer(1, Learned(), Gumbel(), Package()))
    session = begin(TokenDistillation(teacher, 1.0), vit, NOTHING)
    vit(images(3))
    before = session.penalty()
    assert before > 0
    assert reduced.features is not None
    gone = torch.cat((torch.zeros(3, 1).bool(), ~reduced.decisions[0], torch.zeros(3, 1).bool()), 1)
    reduced.features.data[gone] += 1  # nobody looks there
    torch.testing.assert_close(session.penalty(), before)
    reduced.features.data[:, 0] += 1
    assert session.penalty() > before
    session.finish()
    assert not any(module._forward_hooks for module in teacher.modules())


def test_training_comes_to_the_wanted_share(vit: nn.Module) -> None:
    vit = vit.float()
    teacher = copy.deepcopy(vit)
    reduced = insert(vit, [TokenReducer(place, Learned(), Gumbel(), Package()) for place in (1, 2)])
    wanted = (TokenRatio((0.4, 0.2), 4.0), Distillation(teacher, 0.1), TokenDistillation(teacher, 0.1))
    session = Together(tuple(begin(method, vit, NOTHING) for method in wanted))
    inputs = images(64).float()
    train_on = Batches(inputs, teacher.eval()(inputs).argmax(1), 8, shuffle=True)
    data = Data(train_on, train_on, 5, "noise")
    optimizer = torch.optim.AdamW(vit.parameters(), 1e-2)
    train(vit, data, 6, optimizer=optimizer, session=session)
    session.finish()
    vit(inputs)
    for kept, share in zip(reduced.kept, (0.4, 0.2), strict=True):
        assert abs(float(kept.detach().mean()) - share) < 0.12


def test_mistakes_are_one_sentence(vit: nn.Module) -> None:
    with pytest.raises(SpokeshaveError, match="no token reducers"):
        begin(TokenRatio((0.5,)), vit, NOTHING)
    for keep, said in (
        ((), "and there is none"),
        ((0.5, 1.5), "above 0"),
        ((0.2, 0.5), "none is above the one before"),
    ):
        with pytest.raises(SpokeshaveError, match=said):
            TokenRatio(keep)
    insert(vit, TokenReducer(1, Learned(), Gumbel()))
    with pytest.raises(SpokeshaveError, match="2 shares for 1 reducers"):
        begin(TokenRatio((0.5, 0.2)), vit, NOTHING)
    with pytest.raises(SpokeshaveError, match="there was none"):
        begin(TokenRatio((0.5,)), vit, NOTHING).penalty()
    vit.eval()(images(2))
    for method in (TokenRatio((0.5,)), TokenLatency(BLOCK, 60.0)):
        with pytest.raises(SpokeshaveError, match=r"were in evaluation mode; call network\.train\(\) before"):
            begin(method, vit, NOTHING).penalty()
    with pytest.raises(SpokeshaveError, match="TokenDistillation: the teacher is the network itself"):
        begin(TokenDistillation(vit), vit, NOTHING)
    with pytest.raises(SpokeshaveError, match=r"the teacher has no block 'blocks\.3'"):
        begin(TokenDistillation(nn.Linear(2, 2)), vit, NOTHING)
