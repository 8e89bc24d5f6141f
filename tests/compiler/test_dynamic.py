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
LENGTHS = (CAPACITY, 1, 2, 20, CAPACITY - 1, CAPACITY)


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
        (Last(), {"x": 1}, "does other work at another length"),
        (Flattened(), {"x": 1}, "no form for a length that changes"),
        (Sorted(), {"x": 1}, "length"),
    ],
    ids=["name", "axis", "last", "convolution", "foreign"],
)
def test_what_cannot_be_meant_is_refused(network, dynamic, reason):
    x = torch.randn(1, 9, 4)
    example = (x, x) if isinstance(network, Pair) else x
    with pytest.raises(SpokeshaveError, match=reason):
        compile_network(network, example, dynamic=dynamic)


def test_strides_are_laid_out_for_the_greatest_length():
    count = Count(197, "length")
    planes = Grid(197, 0).planes(4, 1, count, 16, tokens=True)
    assert planes.strides == (1, 13 * 16)
    assert str(planes.lanes) == "(((length + 15) / 16) * 16)"
    assert [str(stride) for stride in Flat((3, count, 8)).strides] == ["(length * 8)", "8", "1"]
    assert round_up(count, 16) == 208
