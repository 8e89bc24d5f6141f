import pytest
import torch
from tests.tokens.networks import Headless, images, network
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network
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
    inserted_in,
)
from spokeshave.tokens.scorers import Scorer


def test_removing_leaves_nothing_behind() -> None:
    vit = network("vit")
    names, attributes = list(vit.state_dict()), set(vit.__dict__)
    with insert(vit, TokenReducer(2, Learned(), Gumbel(), Package())) as reduced:
        assert inserted_in(vit) is reduced
        assert any(name.startswith("token_selectors.2.") for name in vit.state_dict())
    assert list(vit.state_dict()) == names
    assert set(vit.__dict__) == attributes
    assert not any("forward" in module.__dict__ for module in vit.modules())
    with pytest.raises(SpokeshaveError, match="has no token reducers"):
        inserted_in(vit)


@pytest.mark.parametrize("keep", [0, -0.5, 1.01])
def test_shares_outside_0_to_1(keep: float) -> None:
    with pytest.raises(SpokeshaveError, match="above 0 and at most 1"):
        TopK(keep)


MISTAKES = [
    ("vit", [TokenReducer(4)], "the network has 4 blocks, 0 to 3"),
    ("vit", [TokenReducer(1), TokenReducer(1)], "two TokenReducers stand before block 1"),
    ("vit", [TokenReducer(1), TokenReducer(2, rest=Freeze())], "must agree"),
    ("vit", [], "at least one"),
    ("headless", [TokenReducer(1)], "has no class token"),
    ("headless", [TokenReducer(1, Random(), TopK(0.5), Drop())], "use Freeze.. or Zero"),
    ("swin", [TokenReducer(1, rest=Zero())], "attends inside windows; score by ReceivedAttention"),
    ("swin", [TokenReducer(1, ReceivedAttention(), TopK(0.5), Drop())], "which need whole maps"),
    ("swin", [TokenReducer(4, ReceivedAttention(), TopK(0.5), Zero())], "the first block of its stage"),
    ("pit", [TokenReducer(1)], "pooled before the last stage"),
    ("vit", [TokenReducer(1, Learned(heads=5))], "5 heads do not divide the width 16"),
]


@pytest.mark.parametrize(("kind", "reducers", "said"), MISTAKES)
def test_reducers_that_a_network_cannot_have(kind: str, reducers: list[TokenReducer], said: str) -> None:
    with pytest.raises(SpokeshaveError, match=said):
        insert(network(kind), reducers)


def test_other_mistakes() -> None:
    vit = network("vit")
    for wrong, said in (
        ({"before": -1}, "counts blocks from 0"),
        ({"before": 0}, "no attention for CLSAttention"),
        ({"before": 1, "decision": Gumbel()}, "probabilities"),
        ({"before": 1, "rest": 3}, "rest must be"),
    ):
        with pytest.raises(SpokeshaveError, match=said):
            TokenReducer(**wrong)
    with insert(vit, TokenReducer(1, Given(), Threshold())) as reduced:
        with pytest.raises(SpokeshaveError, match="already"):
            insert(vit, TokenReducer(2))
        with pytest.raises(SpokeshaveError, match="nothing was given"):
            vit(images(1))
        reduced.give(torch.ones(3, 16))
        with pytest.raises(SpokeshaveError, match="3 samples"):
            vit(images(1))
        with pytest.raises(SpokeshaveError, match="'masked', 'gathered' or None"):
            reduced.form = "packed"
    with pytest.raises(SpokeshaveError, match=r"no layer is called 'encoder\.\*'"):
        insert(vit, TokenReducer(1), blocks="encoder.*")
    with pytest.raises(SpokeshaveError, match="no list of alike blocks"):
        insert(nn.Linear(2, 2), TokenReducer(1))
    with pytest.raises(SpokeshaveError, match=r"nn\.MultiheadAttention"):
        insert(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 2),
            TokenReducer(1),
            class_tokens=1,
        )


def test_blocks_and_class_tokens_can_be_told() -> None:
    mean = Headless().double()
    with insert(
        mean, TokenReducer(1, CLSAttention(), TopK(0.5), Drop()), blocks="blocks.*", class_tokens=1
    ) as reduced:
        mean.eval()(images(2))
        assert reduced.leading == 1
        assert reduced.counts.tolist() == [[16, 16], [9, 9], [9, 9]]


@pytest.mark.parametrize("kind", ["vit", "deit", "pit", "swin"])
def test_exported_networks_keep_the_same_tokens(kind: str) -> None:
    """One sample; the counts of an export are fixed."""
    made, inputs = network(kind), images(1)
    scorer, rest = (
        (ReceivedAttention(), Freeze()) if kind == "swin" else (CLSAttention(), Package(single=True))
    )
    places = (3, 4) if kind == "pit" else (1, 3)
    with insert(made, [TokenReducer(place, scorer, TopK(0.6), rest) for place in places]), torch.no_grad():
        program = export_network(made, inputs)
        torch.testing.assert_close(program.module()(inputs), made(inputs))
        selections = [node for node in program.graph.nodes if "select_tokens" in str(node.target)]
    assert len(selections) == (0 if kind == "swin" else 2)


def test_frozen_tokens_of_adaptive_counts_cannot_be_exported() -> None:
    vit = network("vit")
    with (
        insert(vit, TokenReducer(1, Learned(), Gumbel(), Freeze())),
        pytest.raises(SpokeshaveError, match="with TopK alone"),
    ):
        export_network(vit, images(1))


@pytest.mark.parametrize("scorer", [CLSAttention(), ReceivedAttention()])
def test_attention_scores_behind_adaptive_counts_are_not_compiled(scorer: Scorer) -> None:
    vit = network("vit")
    reducers = [TokenReducer(1, scorer, Threshold(0.1)), TokenReducer(3, scorer, Threshold(0.1))]
    said = r"before block 3: .*Attention\(\) is compiled where .* before block 1 leaves another number"
    with insert(vit, reducers), pytest.raises(SpokeshaveError, match=said):
        export_network(vit, images(1))
