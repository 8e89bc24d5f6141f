"""What token reducers refuse, and numbers of 16 bits."""

import pytest
import torch
import torch.nn.functional as F
from tests.tokens.networks import IMAGES, SIZES, Block, LVViTLike, Scores, images, network
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    Swinv2Config,
    Swinv2ForImageClassification,
)

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens import (
    CLSAttention,
    Drop,
    Freeze,
    Given,
    Gumbel,
    Learned,
    Random,
    Threshold,
    TokenReducer,
    TopK,
    calibrate_thresholds,
    insert,
)
from spokeshave.tokens.attention import masked_softmax
from spokeshave.tokens.blocks import count_class_tokens
from spokeshave.tokens.decisions import choose


class Keywords(Block):
    """Attention called by keywords, keys shared by groups of heads."""

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query=q, key=k[:, :1], value=v[:, :1], enable_gqa=True)
        return tokens + self.out(found.transpose(1, 2).flatten(2))


class Unseen(Block):
    """A softmax that is written by hand."""

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1)).exp()
        found = weights / weights.sum(-1, keepdim=True) @ v
        return tokens + self.out(found.transpose(1, 2).flatten(2))


class MeanOfPatches(LVViTLike):
    """Has a class token, which its head does not read."""

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 1:].mean(1))


class Checkpointed(LVViTLike):
    """Computes its blocks again while gradients are computed."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1) + self.position
        for block in self.blocks:
            tokens = checkpoint(block, tokens, use_reentrant=self.reentrant)
        return self.head(self.norm(tokens)[:, 0])


def of(block: type[Block]) -> nn.Module:
    made = LVViTLike()
    made.blocks = nn.Sequential(*(block() for _ in range(4)))
    return made.double().eval()


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_inside_blocks_is_refused(reentrant: bool) -> None:
    vit = network("vit").train()
    vit.network.activation_checkpointing_enable({"use_reentrant": reentrant})
    with (
        insert(vit, TokenReducer(1)),
        pytest.raises(SpokeshaveError, match="turn gradient checkpointing off"),
    ):
        vit(images(2))


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_around_blocks_is_refused(reentrant: bool) -> None:
    made = Checkpointed(reentrant).double().train()
    with (
        insert(made, TokenReducer(1)),
        pytest.raises(SpokeshaveError, match="runs a second time in one pass"),
    ):
        made(images(2)).sum().backward()


def test_heads_that_read_dropped_tokens_are_refused_in_training() -> None:
    mean = MeanOfPatches().double().train()
    with insert(mean, TokenReducer(1)):
        scores = mean(images(2))
        with pytest.raises(SpokeshaveError, match="read tokens that were dropped"):
            scores.sum().backward()


@torch.no_grad()
def test_attention_that_cannot_be_masked_is_refused() -> None:
    unseen = of(Unseen)
    with insert(unseen, TokenReducer(1, Random(), TopK(0.5))) as reduced:
        reduced.form = "masked"
        with pytest.raises(SpokeshaveError, match="in a way that cannot be masked"):
            unseen(images(2))


@torch.no_grad()
def test_attention_by_keywords_and_in_groups() -> None:
    grouped = of(Keywords)
    with insert(grouped, TokenReducer(1, CLSAttention(), TopK(0.5))) as reduced:
        gathered = grouped(images(2))
        reduced.form = "masked"
        torch.testing.assert_close(grouped(images(2)), gathered)


@torch.no_grad()
def test_given_scores_are_of_all_patches() -> None:
    vit = network("vit")
    with insert(vit, TokenReducer(0, Given(), Threshold())) as reduced:
        reduced.give(torch.zeros(2, 10))
        with pytest.raises(SpokeshaveError, match="2 samples of 10 patches were given for 2 of 16"):
            vit(images(2))


@pytest.mark.parametrize("tokens", [17, 30])
def test_class_tokens_leave_patches(tokens: int) -> None:
    vit = network("vit")
    with (
        insert(vit, TokenReducer(1), class_tokens=tokens),
        pytest.raises(
            SpokeshaveError, match=f"of 17 tokens {tokens} are class tokens, so that no patch is left"
        ),
    ):
        vit(images(1))
    with pytest.raises(SpokeshaveError, match=r"0 or more, not 1\.5"):
        insert(vit, TokenReducer(1), class_tokens=1.5)


def beit(**settings: bool) -> nn.Module:
    torch.manual_seed(0)
    made = Scores(BeitForImageClassification(BeitConfig(**SIZES, **IMAGES, **settings))).double().eval()
    for parameter in made.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made


def test_heads_that_say_they_read_patches_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match=r"takes the mean over patches.*use Freeze"):
        insert(beit(), TokenReducer(1))
    insert(beit(use_mean_pooling=False), TokenReducer(1))


@torch.no_grad()
def test_biases_for_every_pair_of_places_are_masked() -> None:
    """BEiT's: tokens stay, and what is masked in evaluation is what leaves nothing of them."""
    made = beit(use_mean_pooling=False, use_relative_position_bias=True)
    with pytest.raises(SpokeshaveError, match="a bias for every pair of places"):
        insert(made, TokenReducer(1))
    with insert(made, TokenReducer(1, rest=Freeze())) as reduced:
        first = made(images(2))
        hidden = ~reduced.decisions[0]
        assert reduced.counts[:, 0].tolist() == [17, 13, 13, 13]
    assert hidden.any()
    assert not torch.allclose(first, made(images(2)))


def test_windows_that_cannot_be_followed_are_refused() -> None:
    sizes = {**IMAGES, "patch_size": 2}
    config = Swinv2Config(**sizes, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4)
    with pytest.raises(
        SpokeshaveError, match=r"\(Swinv2Layer\) attends inside windows that cannot be reached"
    ):
        insert(Scores(Swinv2ForImageClassification(config)), TokenReducer(1, Random(), TopK(0.5), Freeze()))


def test_registers_are_no_patches() -> None:
    holder = nn.Module()
    holder.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
    holder.register_tokens = nn.Parameter(torch.zeros(1, 4, 8))
    assert count_class_tokens(holder) == 5


def test_gumbel_knows_small_probabilities_in_16_bits() -> None:
    torch.manual_seed(0)
    scores = torch.full((2000, 50), 0.01, dtype=torch.bfloat16)
    kept = choose(Gumbel(), scores, torch.ones_like(scores), True)
    assert kept.dtype == torch.bfloat16
    assert 0.008 < float(kept.float().mean()) < 0.012


def test_gumbel_gradients_stay_finite_in_float16() -> None:
    """As a scaled loss sends them: the selector's softmax behind makes zeros of them, and nan of infinities."""
    torch.manual_seed(0)
    logits = torch.tensor([5.0, 8.0], dtype=torch.float16).repeat(200).view(2, 200).requires_grad_()
    scores = torch.stack((logits, torch.zeros_like(logits)), 2).softmax(2)[:, :, 0]
    kept = choose(Gumbel(), scores, torch.ones_like(scores), True)
    (kept * 30_000).sum(dtype=torch.float32).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


def test_left_out_keys_stay_finite_in_float16() -> None:
    scores = torch.tensor([[[[0.0, 60.0]]]], dtype=torch.float16)
    found = masked_softmax(scores, torch.tensor([1.0, 0.0], dtype=torch.float16))
    assert found.flatten().tolist() == [1, 0]


def test_a_forward_that_was_there_stays() -> None:
    vit = network("vit")
    block = vit.network.vit.layers[1]
    block.forward = own = block.forward
    with insert(vit, TokenReducer(1)) as reduced:
        reduced.remove()
    assert block.__dict__["forward"] is own


@pytest.mark.parametrize("inner_first", [True, False])
def test_reducers_inside_reducers(inner_first: bool) -> None:
    vit = network("vit")
    first, second = (vit.network, vit) if inner_first else (vit, vit.network)
    with insert(first, TokenReducer(1)), pytest.raises(SpokeshaveError, match="has token reducers already"):
        insert(second, TokenReducer(2))


def test_wrong_numbers() -> None:
    with pytest.raises(SpokeshaveError, match=r"counts blocks from 0, not 1\.5"):
        TokenReducer(1.5)  # type: ignore[arg-type]
    with pytest.raises(SpokeshaveError, match="0 or more, not -1"):
        insert(network("vit"), TokenReducer(1), class_tokens=-1)


def test_thresholds_that_no_scores_allow() -> None:
    vit = network("vit").train()
    with insert(vit, [TokenReducer(1, Learned()), TokenReducer(2, Learned(), rest=Drop())]) as reduced:
        with pytest.raises(SpokeshaveError, match="none above the one before"):
            calibrate_thresholds(vit, [images(2)], (0.5, 0.7))
        for weights in reduced.selectors[1].parameters():
            weights.data.zero_()
        with pytest.raises(SpokeshaveError, match="no threshold keeps 50% of the patches"):
            calibrate_thresholds(vit, [images(2)], (0.5, 0.4))
        assert vit.training
