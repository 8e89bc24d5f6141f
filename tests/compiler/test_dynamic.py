"""Lengths that change from call to call, against PyTorch at each length."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler import compile_network, load_deployment
from spokeshave.compiler.count import Count
from spokeshave.compiler.layout import Flat, Grid, round_up
from spokeshave.errors import SpokeshaveError

CAPACITY = 37
LENGTHS = (CAPACITY, 1, 2, 17, 18, 20, CAPACITY - 1, CAPACITY)  # few lanes and many behind whole vectors


class Tagger(nn.Module):
    """Positions, causal attention, layer norm, a mean over tokens and one over channels left out, a moved axis."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(31, 24), nn.Embedding(CAPACITY, 24)
        self.heads, self.norm, self.head = nn.Linear(24, 72), nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, words):
        x = self.words(words) + self.positions(torch.arange(words.shape[1]))
        split = self.heads(x).unflatten(2, (3, 3, 8)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(split[0], split[1], split[2], is_causal=True)
        x = self.norm(x + y.transpose(1, 2).flatten(2))
        return self.head(F.gelu(x)), x.mean(1), x[:, 0], torch.softmax(x, 2).transpose(1, 2)


def check(deployment, network, words) -> None:
    with torch.no_grad():
        reference = network(words)
    for result, wanted in zip(deployment(words), reference, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lesser", [None, "avx2", "portable"])
def test_every_length_equals_pytorch(lesser, tmp_path):
    torch.manual_seed(0)
    network, words = Tagger().eval(), torch.randint(0, 31, (3, CAPACITY))
    deployment = compile_network(network, words, isa=lesser, dynamic={"words": 1})
    for length in LENGTHS:
        check(deployment, network, words[:, :length])
    deployment.threads = 2
    check(deployment, network, words[:1, :21])
    deployment.save(tmp_path / "saved")
    check(load_deployment(tmp_path / "saved"), network, words[:, :7])
    for wrong in (torch.zeros(2, CAPACITY + 1, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64)):
        with pytest.raises(SpokeshaveError, match="takes 1 to 37"):
            deployment(wrong)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_every_length_at_lower_precision(precision):
    torch.manual_seed(0)
    network, words = Tagger().eval(), torch.randint(0, 31, (3, CAPACITY))
    calibration = [words] if precision == "int8" else None
    deployment = compile_network(
        network, words, dynamic={"words": 1}, precision=precision, calibration=calibration
    )
    assert {layer.precision for layer in deployment.manifest.layers} == {precision}
    for length in LENGTHS:
        with torch.no_grad():
            reference = network(words[:, :length])
        for result, wanted in zip(deployment(words[:, :length]), reference, strict=True):
            assert (result - wanted).square().mean().sqrt() <= 0.02 * wanted.square().mean().sqrt()
    with pytest.raises(SpokeshaveError, match="calibration sample has shape"):
        compile_network(network, words, dynamic={0: 1}, precision="int8", calibration=[words[:, :5]])


class Cached(nn.Module):
    """Causal attention over tokens behind the past's, whose positions move; a mask over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(31, 24), nn.Embedding(CAPACITY, 24)
        self.heads = nn.Linear(24, 72)

    def forward(self, words, past, mask=None):
        first, count = past.shape[2], words.shape[1]
        x = self.words(words) - self.positions(torch.arange(first, first + count))
        query, key, value = (y.unflatten(2, (3, 8)).transpose(1, 2) for y in self.heads(x).chunk(3, 2))
        keys = torch.cat([past, key], 2)
        later = torch.ones(first + count, first + count).tril()[first:] == 0
        scores = query @ keys.transpose(2, 3) * 0.3
        scores = scores + torch.zeros(later.shape).masked_fill(later, -torch.inf)
        scores = scores if mask is None else scores + mask[:, None, None]
        return (scores.softmax(-1) @ torch.cat([past, value], 2)).transpose(1, 2).flatten(2), keys


def test_two_lengths(isa):
    torch.manual_seed(0)
    network, most = Cached().eval(), (9, 13)

    def inputs(tokens: int, past: int) -> tuple[torch.Tensor, ...]:
        mask = torch.zeros(2, tokens + past).masked_fill(torch.rand(2, tokens + past) < 0.2, -3.0)
        return torch.randint(0, 31, (2, tokens)), torch.randn(2, 3, past, 8), mask

    dynamic = {"tokens": {"words": 1, "mask": 1}, "past": {"past": 2, 2: 1}}
    deployment = compile_network(network, inputs(*most), isa=isa, dynamic=dynamic)
    assert deployment.manifest.lengths == ("tokens", "past")
    for lengths in (most, (1, 1), (1, 13), (9, 1), (4, 6), most):
        given = inputs(*lengths)
        with torch.no_grad():
            reference = network(*given)
        for result, wanted in zip(deployment(*given), reference, strict=True):
            torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-5)
    words, past, mask = inputs(4, 6)
    with pytest.raises(SpokeshaveError, match="input 2 has shape"):
        deployment(words, past, mask[:, 1:])
    with pytest.raises(SpokeshaveError, match="takes 1 to 13"):
        deployment(words, torch.zeros(2, 3, 14, 8), mask)
    with pytest.raises(SpokeshaveError, match="move with the length 'length'; give"):
        compile_network(network, inputs(*most)[:2], dynamic={"past": 2})


class Squares(nn.Module):
    def forward(self, x):
        return x.flatten(1, 2).unsqueeze(1) * 2.0


class Pair(nn.Module):
    def forward(self, a, b):
        return a * b


def test_inputs_of_different_lengths_are_refused():
    a, b = torch.randn(1, 9, 4), torch.randn(1, 9, 4)
    deployment = compile_network(Pair(), (a, b), dynamic={0: 1, "b": 1})
    torch.testing.assert_close(deployment(a[:, :5], b[:, :5]), (a * b)[:, :5])
    with pytest.raises(SpokeshaveError, match="input 1 has shape"):
        deployment(a[:, :5], b[:, :6])


class Last(nn.Module):
    def forward(self, x):
        return x[:, -1]


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 4, 3)

    def forward(self, x):
        return self.layer(x.transpose(1, 2))


class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(1)[0]


@pytest.mark.parametrize(
    ("network", "dynamic", "reason"),
    [
        (Pair(), {"c": 1}, "no input 'c'"),
        (Pair(), {"a": 3}, "no axis 3"),
        (Pair(), {"one": {"a": 1}, "b": 1}, "every changing axis a length"),
        (Pair(), {"one": {"a": 1, "b": 1}, "two": {"a": 1, "b": 1}}, "is the length 'one' alone"),
        (Pair(), {"a": 2, "b": 1}, "must have one length"),
        (Squares(), {"x": {"x": 1}, "y": {0: 2}}, "no sum of the lengths"),
        (Last(), {"x": 1}, "does other work at another length"),
        (Flattened(), {"x": 1}, "no form for a length that changes"),
        (Sorted(), {"x": 1}, "length"),
    ],
    ids=["name", "axis", "mixed", "nobody's", "unequal", "product", "last", "convolution", "foreign"],
)
def test_what_cannot_be_meant_is_refused(network, dynamic, reason):
    x = torch.randn(1, 9, 4)
    example = (x, x) if isinstance(network, Pair) else x
    with pytest.raises(SpokeshaveError, match=reason):
        compile_network(network, example, dynamic=dynamic)


def test_strides_are_laid_out_for_the_greatest_length():
    count = Count.length(197)
    planes = Grid(197, 0).planes(4, 1, count, 16, tokens=True)
    assert planes.strides == (1, 13 * 16)
    assert str(planes.lanes) == "(((length[0] + 15) / 16) * 16)"
    assert [str(stride) for stride in Flat((3, count, 8)).strides] == ["(length[0] * 8)", "8", "1"]
    assert round_up(count, 16) == 208
