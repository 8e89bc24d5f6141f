import torch
from hypothesis import given
from hypothesis import strategies as some

from spokeshave.tokens import Gumbel, TopK
from spokeshave.tokens.decisions import choose
from spokeshave.tokens.selector import Selector


@given(some.integers(1, 40), some.floats(0.01, 1), some.integers(0, 99))
def test_topk_keeps_the_best_candidates(tokens: int, keep: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, tokens, generator=generator).double()
    candidates = (torch.rand(3, tokens, generator=generator) < 0.7).double()
    chosen = choose(TopK(keep), scores, candidates, training=False)
    for row, live, kept in zip(scores, candidates, chosen, strict=True):
        count = TopK(keep).count(int(live.sum()))
        best = sorted(row[live > 0].tolist(), reverse=True)[:count]
        assert sorted(row[kept > 0].tolist(), reverse=True) == best


def test_gumbel_samples_by_probability_in_training_alone() -> None:
    torch.manual_seed(0)
    scores = torch.tensor([0.2, 0.5, 0.9]).repeat(20_000, 1).requires_grad_()
    candidates = torch.ones(20_000, 3)
    chosen = choose(Gumbel(), scores, candidates, training=True)
    torch.testing.assert_close(chosen.mean(0), torch.tensor([0.2, 0.5, 0.9]), rtol=0, atol=0.015)
    assert choose(Gumbel(), scores, candidates, training=False)[0].tolist() == [0, 1, 1]
    chosen.sum().backward()
    assert (scores.grad > 0).float().mean() > 0.9


def test_a_selector_sees_only_those_that_take_part() -> None:
    torch.manual_seed(0)
    selector, tokens = Selector(16, 2).double(), torch.randn(2, 6, 16).double()
    alive = torch.tensor([[1, 1, 0, 1, 0, 1.0], [1, 0, 0, 0, 0, 0]]).double()
    changed = torch.where(alive[:, :, None] > 0, tokens, torch.randn_like(tokens))
    before, after = (selector(one, alive)[alive > 0] for one in (tokens, changed))
    torch.testing.assert_close(before, after)
    alone = selector(tokens[:1, [0, 1, 3, 5]], torch.ones(1, 4).double())[0]
    torch.testing.assert_close(before[:4], alone)
    assert ((before > 0) & (before < 1)).all()


def test_shared_heads_have_fewer_weights() -> None:
    sizes = [sum(p.numel() for p in Selector(16, 4, shared).parameters()) for shared in (False, True)]
    assert sizes[0] > 2 * sizes[1]
