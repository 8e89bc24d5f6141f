"""Masked and gathered execution give equal scores for equal decisions: every reducer, network and batch size."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as some
from tests.tokens.networks import LEAVING, STAYING, images, network
from torch import Tensor, nn

from spokeshave.tokens import (
    CLSAttention,
    Drop,
    Freeze,
    Given,
    Gumbel,
    Learned,
    Package,
    Random,
    ReceivedAttention,
    Threshold,
    TokenReducer,
    TopK,
    Zero,
    insert,
)
from spokeshave.tokens.insert import Inserted
from spokeshave.tokens.scorers import ATTENTION

NETWORKS = {kind: network(kind) for kind in STAYING}
BLOCKS = {"vit": 4, "eager vit": 4, "deit": 4, "lv-vit": 4, "pit": 5, "headless": 3, "swin": 6}
PATCHES = {"pit": 64, "swin": 64}  # at the first stage, 16 elsewhere
CLOSE = {"rtol": 0, "atol": 1e-5}


@some.composite
def reducers(draw: some.DrawFn, kind: str) -> list[TokenReducer]:
    """One to three that this network can have."""
    leaves = kind in LEAVING and draw(some.booleans())
    places = [3, 4] if leaves and kind == "pit" else range(BLOCKS[kind])
    chosen = draw(some.lists(some.sampled_from(list(places)), min_size=1, max_size=3, unique=True))
    return [draw(_reducer(kind, place, leaves)) for place in chosen]


@some.composite
def _reducer(draw: some.DrawFn, kind: str, before: int, leaves: bool) -> TokenReducer:
    scorers = [
        Learned(),
        Learned(shared=True, importance=False, narrow=True),
        Learned(dither=draw(some.sampled_from([0.5, 2.0]))),
        Random(draw(some.integers(0, 9))),
    ]
    if before not in {"pit": (0, 2), "swin": (0, 4)}.get(kind, (0,)):
        scorers += [ReceivedAttention()] + [CLSAttention()] * (kind not in ("headless", "swin"))
    scorer = draw(some.sampled_from(scorers))
    decisions = [TopK(draw(some.sampled_from([0.01, 0.3, 0.5, 0.7, 1.0])))]
    if isinstance(scorer, ATTENTION):
        decisions.append(Threshold(0.06 if isinstance(scorer, CLSAttention) else 0.9))
    else:
        decisions += [Threshold(draw(some.sampled_from([0.0, 0.4, 0.5, 1.1]))), Gumbel()]
    rests = [Drop(), Package(), Package(single=True)] if leaves else [Freeze(), Zero()]
    return TokenReducer(before, scorer, draw(some.sampled_from(decisions)), draw(some.sampled_from(rests)))


def run(
    network: nn.Module, reduced: Inserted, form: str, inputs: Tensor
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    reduced.form = form
    with torch.no_grad():
        return network(inputs), reduced.decisions, reduced.counts


@pytest.mark.parametrize("kind", STAYING)
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(data=some.data(), samples=some.integers(1, 5), seed=some.integers(0, 99))
def test_masked_and_gathered_agree(kind: str, data: some.DataObject, samples: int, seed: int) -> None:
    chosen, inputs = data.draw(reducers(kind)), images(samples, seed)
    torch.manual_seed(seed)
    with insert(NETWORKS[kind], chosen) as reduced:
        for parameter in nn.ModuleList(reduced.selectors.values()).parameters():
            parameter.data.add_(torch.randn_like(parameter))
        wanted, decisions, counts = run(NETWORKS[kind], reduced, "masked", inputs)
        found, gathered_decisions, gathered_counts = run(NETWORKS[kind], reduced, "gathered", inputs)
        alone = [run(NETWORKS[kind], reduced, "gathered", one[None]) for one in inputs[-2:]]
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(torch.cat([scores for scores, _, _ in alone]), wanted[-2:], **CLOSE)
    assert len(decisions) == len(chosen)
    for one, other in zip(decisions, gathered_decisions, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(counts, gathered_counts)
    assert torch.equal(counts[:, -2:], torch.cat([counts for _, _, counts in alone], 1))


@pytest.mark.parametrize("kind", STAYING)
def test_nothing_changes_where_everything_is_kept(kind: str) -> None:
    inputs, rest = images(3), Drop() if kind in LEAVING else Freeze()
    with torch.no_grad():
        dense = NETWORKS[kind](inputs)
        with insert(
            NETWORKS[kind], TokenReducer(3 if kind == "pit" else 1, Random(), TopK(1.0), rest)
        ) as reduced:
            for form in ("masked", "gathered"):
                torch.testing.assert_close(run(NETWORKS[kind], reduced, form, inputs)[0], dense, **CLOSE)
        assert torch.equal(NETWORKS[kind](inputs), dense)


@pytest.mark.parametrize("rest", [Drop(), Package()])
def test_what_was_dropped_does_not_matter(rest: Drop) -> None:
    """Given indices: other pixels in the patches that are dropped in front of block 0 change nothing."""
    inputs, keep = images(2), torch.rand(2, 16).argsort(1) < 6
    pixels = (~keep).view(2, 1, 4, 1, 4, 1).expand(2, 3, 4, 4, 4, 4).reshape(2, 3, 16, 16)
    with insert(NETWORKS["vit"], TokenReducer(0, Given(), Threshold(), rest)) as reduced, torch.no_grad():
        reduced.give(keep)
        first, second = NETWORKS["vit"](inputs), NETWORKS["vit"](inputs + pixels)
        assert torch.equal(reduced.decisions[0], keep)
    assert torch.allclose(first, second, atol=1e-12) == isinstance(rest, Drop)


def test_a_copy_of_a_network_has_reducers_of_its_own() -> None:
    inputs = images(2)
    with insert(NETWORKS["vit"], TokenReducer(1, Learned(), Gumbel(), Package())) as reduced, torch.no_grad():
        other = copy.deepcopy(NETWORKS["vit"])
        before = NETWORKS["vit"](inputs)
        for parameter in other.parameters():
            parameter.data.zero_()
        other(inputs)
        assert not torch.equal(
            other.token_selectors["1"].votes[0][0].weight, reduced.selectors[1].votes[0][0].weight
        )
        assert torch.equal(NETWORKS["vit"](inputs), before)


def test_training_samples_and_gradients_reach_selector_and_network() -> None:
    torch.manual_seed(0)
    for kind in ("vit", "lv-vit", "swin"):
        rest = Freeze() if kind == "swin" else Package()
        with insert(
            NETWORKS[kind],
            [TokenReducer(1, Learned(), Gumbel(), rest), TokenReducer(3, Learned(), TopK(0.5), rest)],
        ):
            NETWORKS[kind].train()(images(4)).square().sum().backward()
            for name, parameter in NETWORKS[kind].named_parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all(), name
            for place in "13":
                for parameter in NETWORKS[kind].token_selectors[place].parameters():
                    assert parameter.grad is not None
                    assert parameter.grad.abs().sum() > 0
        NETWORKS[kind].eval().zero_grad(set_to_none=True)


def test_gathered_training_has_the_gradients_of_masked_training() -> None:
    vit = NETWORKS["lv-vit"]
    gradients = []
    for form in ("masked", "gathered"):
        with insert(vit, TokenReducer(1, CLSAttention(), TopK(0.4), Drop())) as reduced:
            reduced.form = form
            vit(images(3)).square().sum().backward()
        gradients.append([parameter.grad for parameter in vit.parameters()])
        vit.zero_grad(set_to_none=True)
    for masked, gathered in zip(*gradients, strict=True):
        torch.testing.assert_close(masked, gathered)


def test_class_tokens_always_survive() -> None:
    for rest in (Drop(), Package()):
        reducer = TokenReducer(1, Learned(), Threshold(1.1), rest)
        with insert(NETWORKS["deit"], [reducer, replace(reducer, before=2)]) as reduced:
            scores, _, counts = run(NETWORKS["deit"], reduced, "gathered", images(2))
        packages = [0, 1, 2, 2] if isinstance(rest, Package) else [0, 0, 0, 0]
        assert scores.isfinite().all()
        assert counts[:, 0].tolist() == [18] + [2 + number for number in packages[1:]]
