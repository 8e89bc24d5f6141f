"""Tokens that a network selects by their scores, as many as these say, against PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.compiler import compile_network, load_deployment
from spokeshave.compiler.artifact import run_as_c
from spokeshave.compiler.integers import whole_network
from spokeshave.errors import SpokeshaveError
from spokeshave.networks import VisionTransformer
from spokeshave.token_selection import select_tokens
from spokeshave.tokens import CLSAttention, ReceivedAttention, Threshold, TokenReducer, insert

WIDTH = 24


class Selector(nn.Module):
    """Scores of tokens by what they are and what their mean is, as SPViT's."""

    def __init__(self, name: str, rest: str, packages: int) -> None:
        super().__init__()
        self.name, self.rest, self.packages = name, rest, packages
        self.local, self.score = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        own, shared = F.gelu(self.local(x[:, 1:])).chunk(2, 2)
        both = torch.cat((own, shared.mean(1, keepdim=True).expand(-1, own.shape[1], -1)), 2)
        scores = self.score(both).softmax(2)[..., 0]
        return select_tokens(x, scores, self.name, packages=self.packages, rest=self.rest)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.heads, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.heads(self.first(x)).unflatten(2, (3, 3, 8)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.wide(self.second(x))))


class Transformer(nn.Module):
    """A vision transformer with selectors before two of its blocks; of 50 tokens few enough are left to differ."""

    def __init__(self, rest: str = "package") -> None:
        super().__init__()
        self.cut, self.places = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 50, WIDTH) * 0.5)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        after = 1 if rest != "drop" else 0
        self.selectors = nn.ModuleList([Selector("early", rest, 0), Selector("late", rest, after)])
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.cut(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.places
        x = self.selectors[0](self.blocks[0](x))
        x = self.selectors[1](self.blocks[1](x))
        x = self.norm(self.blocks[2](x))
        return self.head(x[:, 0]), x.mean(1)


def made(rest: str, seed: int = 0) -> tuple[Transformer, Tensor]:
    """A network and images of which each keeps another number of tokens."""
    torch.manual_seed(seed)
    network = Transformer(rest).eval()
    for selector in network.selectors:
        selector.score.weight.data *= 4
    return network, torch.randn(6, 3, 28, 28)


def one_by_one(network: nn.Module, images: Tensor) -> tuple[list[Tensor], list[list[int]]]:
    """The outputs of a batch, and how many tokens each selector left of each sample."""
    counts: list[list[int]] = [[] for _ in network.selectors]
    hooks = [
        selector.register_forward_hook(lambda module, given, left, kept=kept: kept.append(left.shape[1]))
        for selector, kept in zip(network.selectors, counts, strict=True)
    ]
    with torch.no_grad():
        rows = [network(image.unsqueeze(0)) for image in images]
    for hook in hooks:
        hook.remove()
    return [torch.cat(column) for column in zip(*rows, strict=True)], counts


def check(deployment, network: nn.Module, images: Tensor, error: float = 1e-4) -> None:
    wanted, counts = one_by_one(network, images)
    for result, reference in zip(deployment(images), wanted, strict=True):
        assert (result - reference).abs().max() <= error * reference.abs().max()
    assert [kept.tolist() for kept in deployment.token_counts.values()] == counts
    assert all(len(set(kept)) > 2 for kept in counts)


@pytest.mark.slow
def test_counts_differ_from_image_to_image(isa, tmp_path):
    """One compilation, on every instruction set, alone and in a batch, by one worker and two, saved and loaded."""
    network, images = made("package")
    deployment = compile_network(network, images[:1], isa=isa)
    assert deployment.manifest.selectors == ("early", "late")
    check(deployment, network, images)
    alone = [deployment(image.unsqueeze(0)) for image in images]
    for result, single in zip(deployment(images), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(result, torch.cat(single), rtol=0, atol=0)
    deployment.threads = 2
    check(deployment, network, images[:5])
    deployment.save(tmp_path / "saved")
    check(load_deployment(tmp_path / "saved"), network, images)


@pytest.mark.parametrize("rest", ["drop", "merge"])
def test_what_is_removed_can_go_or_be_merged(rest):
    """Dropped, or all in one token; also as plain C, whose last outputs are the counts."""
    network, images = made(rest)
    deployment = compile_network(network, images[:1])
    check(deployment, network, images)
    ran = run_as_c(deployment.generated, [images])
    for result, reference in zip(ran.outputs, deployment(images), strict=False):
        torch.testing.assert_close(result, reference, rtol=1e-4, atol=1e-5)
    counts = torch.cat(ran.outputs[2:], 1).long().unbind(1)
    assert [kept.tolist() for kept in counts] == [kept.tolist() for kept in deployment.token_counts.values()]


class Placed(Transformer):
    """Behind the selector every token gets what is at its new place of constants that are longer."""

    def __init__(self) -> None:
        super().__init__("drop")
        self.new, self.shares = nn.Parameter(torch.randn(1, 70, WIDTH)), nn.Parameter(torch.rand(1, 70, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.selectors[0](self.blocks[0](self.cut(images).flatten(2).transpose(1, 2)))
        x = x * self.shares[:, : x.shape[1]] + self.new[:, : x.shape[1]]
        return self.head(self.norm(self.blocks[1](x))[:, 0])


def test_constants_as_long_as_the_tokens_are_cut_in_int8() -> None:
    """Calibration runs the reference, whose constants are as short as what is left of each sample."""
    torch.manual_seed(0)
    network, images = Placed().eval(), torch.randn(6, 3, 28, 28)
    network.selectors[0].score.weight.data *= 4
    deployment = compile_network(network, images[:1], precision="int8", calibration=[images])
    with torch.no_grad():
        wanted = torch.cat([network(image.unsqueeze(0)) for image in images])
    found = deployment(images)
    assert len(set(deployment.token_counts["early"].tolist())) > 1
    assert (found - wanted).square().mean().sqrt() < 0.1 * wanted.square().mean().sqrt()


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_layers_around_selectors_in_lower_precision(precision):
    """Decisions stay as they are where scores are far from the threshold; the reference finds its own lengths."""
    network, images = made("package")
    calibration = [images] if precision == "int8" else None
    deployment = compile_network(network, images[:1], precision=precision, calibration=calibration)
    assert precision in {layer.precision for layer in deployment.manifest.layers}
    wanted, counts = one_by_one(network, images)
    for result, reference in zip(deployment(images), wanted, strict=True):
        assert (result - reference).square().mean().sqrt() <= 0.1 * reference.square().mean().sqrt()
    for kept, reference in zip(deployment.token_counts.values(), counts, strict=True):
        assert (kept - torch.tensor(reference)).abs().max() <= 2


class Largest(nn.Module):
    """As many tokens as are told, those with the largest first channel, by several selectors perhaps."""

    def __init__(self, counts: tuple[int | None, ...], names: str = "abc", leading: int = 1) -> None:
        super().__init__()
        self.counts, self.names, self.leading = counts, names, leading

    def forward(self, x: Tensor) -> Tensor:
        for count, name in zip(self.counts, self.names, strict=False):
            scores = torch.sigmoid(x[:, self.leading :, 0])
            x = select_tokens(x, scores, name, count=count, leading=self.leading) * 1.5
        return x.mean(1)


def test_fixed_counts_and_thresholds_that_keep_nothing():
    """A fixed count is part of the shapes; ties go to the first; one token is always left."""
    x = torch.randn(3, 30, 8).round(decimals=1)
    for network in (Largest((20, 5)), Largest((12, None))):
        deployment = compile_network(network, x[:1])
        wanted = torch.cat([network(sample.unsqueeze(0)) for sample in x])
        torch.testing.assert_close(deployment(x), wanted)
        assert list(deployment.token_counts) == ["b"] * (None in network.counts)
    network, x = Largest((None,), leading=0), -torch.rand(3, 30, 8)
    torch.testing.assert_close(
        compile_network(network, x[:1])(x), torch.cat([network(x[i : i + 1]) for i in range(3)])
    )


class Leading(nn.Module):
    """Reads one of the first tokens behind a selector that always leaves `leading`."""

    def __init__(self, read: int, leading: int) -> None:
        super().__init__()
        self.read, self.leading = read, leading

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.sigmoid(x[:, self.leading :, 0])
        return select_tokens(x, scores, "one", leading=self.leading)[:, self.read] * 2


def test_class_and_distillation_tokens_can_be_read():
    """Any token that is always there, and no other."""
    x = torch.randn(3, 30, 8)
    for read in (0, 1, 2):
        torch.testing.assert_close(compile_network(Leading(read, 3), x[:1])(x), 2 * x[:, read])
    with pytest.raises(SpokeshaveError, match="no form for a length that changes"):
        compile_network(Leading(2, 2), x[:1])


class Sorted(nn.Module):
    """Something that has no kernel, done to as many tokens as are left."""

    def forward(self, x: Tensor) -> Tensor:
        return select_tokens(x, torch.sigmoid(x[:, 1:, 0]), "one").sort(2).values[:, 0]


def test_what_pytorch_runs_cannot_follow_a_length():
    with pytest.raises(
        SpokeshaveError, match=r"is not compiled \(aten.sort.*\), so its length cannot change"
    ):
        compile_network(Sorted(), torch.randn(1, 30, 8))


class SortedBefore(nn.Module):
    """The same to all tokens, before any leaves."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.sort(2).values
        return select_tokens(x, torch.sigmoid(x[:, 1:, 0]), "one")[:, 0]


def test_what_pytorch_runs_before_a_selector_is_named():
    with pytest.raises(
        SpokeshaveError, match=r"not compiled \(.*\); where lengths change, all of a network must be"
    ):
        compile_network(SortedBefore(), torch.randn(1, 30, 8))


class FewKeys(nn.Module):
    """Attention whose queries are all tokens, while keys and values are made of those alone that have the scores."""

    def __init__(self, count: int | None) -> None:
        super().__init__()
        self.count = count
        self.query, self.pair = nn.Linear(16, 16), nn.Linear(16, 32)

    def forward(self, x: Tensor) -> Tensor:
        read = select_tokens(x, torch.sigmoid(x[:, 1:, 0]), "keys", count=self.count)
        heads = [
            y.unflatten(2, (2, 8)).transpose(1, 2) for y in (self.query(x), *self.pair(read).chunk(2, 2))
        ]
        return F.scaled_dot_product_attention(heads[0], heads[1], heads[2]).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("count", [9, None])
def test_links_can_be_pruned_instead_of_tokens(count):
    """Every token stays and reads fewer others, a fixed number or as many as scores say."""
    network, x = FewKeys(count).eval(), torch.randn(3, 40, 16)
    deployment = compile_network(network, x[:1])
    with torch.no_grad():
        wanted = torch.cat([network(sample.unsqueeze(0)) for sample in x])
    torch.testing.assert_close(deployment(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_layers_behind_a_selector_are_tuned():
    """Each alone, at the greatest number of tokens."""
    network, x = FewKeys(None).eval(), torch.randn(3, 40, 16)
    deployment = compile_network(network, x[:1], tune=True)
    with torch.no_grad():
        wanted = torch.cat([network(sample.unsqueeze(0)) for sample in x])
    torch.testing.assert_close(deployment(x), wanted, rtol=1e-4, atol=1e-5)


class ByGivenScores(nn.Module):
    def __init__(self, rest: str) -> None:
        super().__init__()
        self.rest = rest

    def forward(self, x: Tensor, scores: Tensor) -> Tensor:
        """The second selector sees what the first left, the package last."""
        x = select_tokens(x, scores, "first", leading=2, packages=1, rest=self.rest)
        older = 2 if self.rest == "package" else 1
        return select_tokens(x, x[:, 2:, 0], "second", leading=2, packages=older, rest=self.rest).mean(1)


@pytest.mark.parametrize("rest", ["drop", "package", "merge"])
def test_scores_that_keep_all_some_or_none(rest):
    """Scores of zero, whose mean is a plain one, ties at the threshold, and whatever is between."""
    network, tokens = ByGivenScores(rest), 20
    scores = torch.rand(9, tokens - 2)
    scores[0], scores[1], scores[2], scores[3] = 0.0, 1.0, 0.5, 0.499
    scores[4, ::2] = 0.0
    x = torch.randn(9, tokens, 4)
    deployment = compile_network(network, (x[:1], scores[:1]))
    wanted = torch.cat([network(x[i : i + 1], scores[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(deployment(x, scores), wanted, rtol=1e-5, atol=1e-6)
    assert deployment.token_counts["first"][1] == tokens + (rest == "package")


class Everything(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return select_tokens(x, x[:, 1:, 0], "all")


@pytest.mark.parametrize(
    ("network", "settings", "sentence"),
    [
        (Largest((None, None), "aa"), {}, "two selectors have the name 'a'"),
        (Largest((None, 4)), {}, "no form for a length that changes"),
        (Largest((None,)), {"dynamic": {"x": 1}}, "takes inputs of one length"),
        (Everything(), {}, "as many tokens as are left"),
    ],
)
def test_what_cannot_be_compiled_is_one_sentence(network, settings, sentence):
    """Names, counts behind adaptive ones, lengths of both kinds, tokens as outputs."""
    with pytest.raises(SpokeshaveError, match=sentence):
        compile_network(network, torch.randn(1, 30, 8), **settings)


def test_other_ways_are_refused():
    """Exported programs, whose sizes are fixed, and whole networks in integers, which run batches."""
    with pytest.raises(SpokeshaveError, match="differ from sample to sample"):
        whole_network(Largest((None,)), torch.randn(1, 30, 8), [torch.randn(2, 30, 8)])
    program = torch.export.export(Largest((None,)), (torch.randn(1, 30, 8),))
    with pytest.raises(SpokeshaveError, match="compile the network itself"):
        compile_network(program, torch.randn(1, 30, 8))


@pytest.mark.parametrize(("scorer", "least"), [(CLSAttention(), 1 / 17), (ReceivedAttention(), 1.0)])
def test_attention_scores_leave_as_many_tokens_as_reach_a_threshold(scorer, least):
    torch.manual_seed(0)
    network, image = (
        VisionTransformer(1, 16, 4, width=16, heads=2, blocks=2).eval(),
        torch.randn(1, 1, 16, 16),
    )
    reduced = insert(network, TokenReducer(1, scorer, Threshold(least)))
    deployment = compile_network(network, image)
    torch.testing.assert_close(deployment(image), network(image))
    assert 1 < int(deployment.token_counts["block1"]) == int(reduced.counts[1, 0]) < 17
