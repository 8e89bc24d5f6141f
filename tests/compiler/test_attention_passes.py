"""Attention, norms and broadcasts that are written out, found in graphs, and equal to PyTorch."""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import Attention, RMSNorm
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.export import export_network

TOKENS, WIDTH, HEADS = 11, 12, 3


class Written(nn.Module):
    """Attention as products and a softmax; `scores` turns products into what the softmax sees."""

    def __init__(self, scores, heads: int = HEADS, key_heads: int = HEADS) -> None:
        super().__init__()
        self.scores, self.heads, self.key_heads = scores, heads, key_heads
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key, self.value = (nn.Linear(WIDTH, WIDTH // heads * key_heads) for _ in range(2))

    def split(self, x, heads: int):
        return x.unflatten(-1, (heads, WIDTH // self.heads)).transpose(1, 2)

    def forward(self, x, mask):
        query = self.split(self.query(x), self.heads)
        key, value = (self.split(y, self.key_heads) for y in (self.key(x), self.value(x)))
        if self.key_heads < self.heads:
            shared = self.heads // self.key_heads
            key, value = (y[:, :, None].expand(-1, -1, shared, -1, -1).flatten(1, 2) for y in (key, value))
        weights = torch.softmax(self.scores(query @ key.transpose(-1, -2), mask), -1)
        return (F.dropout(weights, 0.1, self.training) @ value).transpose(1, 2).flatten(2)


LEAST = torch.finfo(torch.float32).min
LATER = torch.full((TOKENS, TOKENS), LEAST).triu(1)
BIAS = torch.randn(HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(3))
FORMS = {
    "plain": lambda s, mask: s,
    "scaled": lambda s, mask: s / math.sqrt(8.0),
    "scaled twice": lambda s, mask: s * 0.5 * torch.tensor(0.25),
    "causal": lambda s, mask: s * 0.3 + LATER,
    "bias": lambda s, mask: s + BIAS,
    "bias and causal": lambda s, mask: s + BIAS + LATER[None],
    "mask": lambda s, mask: s * 0.3 + mask[:, None, None],
    "mask and causal": lambda s, mask: s * 0.3 + mask[:, None, None] + LATER,
    "mask and bias": lambda s, mask: mask[:, None, None] + (s + BIAS),
    "two masks": lambda s, mask: s + mask[:, None, None] + mask[:, None, :, None],
}


def operations(network, *inputs) -> Counter:
    graph = optimise(import_program(export_network(network, inputs)).graph)
    return Counter(type(node.operation) for node in graph.nodes)


def check(network, *inputs) -> None:
    deployment = compile_network(network, inputs)
    assert deployment.fallen_out == ()
    with torch.no_grad():
        wanted = network(*inputs)
    assert (deployment(*inputs) - wanted).abs().max() <= 1e-5 * max(1.0, wanted.abs().max().item())


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.zeros(2, TOKENS).masked_fill(torch.rand(2, TOKENS) < 0.4, LEAST)
    return torch.randn(2, TOKENS, WIDTH), mask


@pytest.mark.parametrize("form", FORMS)
def test_written_attention_is_one_operation(form, inputs):
    network = Written(FORMS[form]).eval()
    assert operations(network, *inputs)[Attention] == 1
    check(network, *inputs)


def test_a_query_that_sees_only_what_is_masked_sees_all_alike(inputs):
    x, mask = inputs
    check(Written(FORMS["mask"]).eval(), x, mask.fill_(LEAST))


@pytest.mark.parametrize("key_heads", [1, 2])
def test_keys_that_heads_share_are_not_repeated(key_heads, inputs):
    network = Written(FORMS["causal"], 4, key_heads).eval()
    graph = optimise(import_program(export_network(network, inputs)).graph)
    (operation,) = [node.operation for node in graph.nodes if isinstance(node.operation, Attention)]
    assert (operation.heads, operation.key_heads, operation.causal) == (4, key_heads, True)
    check(network, *inputs)


class Rows(nn.Module):
    """Written attention of one head over other axes, and scores that are no attention's."""

    def forward(self, x):
        one = torch.softmax(x @ x.transpose(1, 2) * 0.2, -1) @ x
        clamped = torch.softmax((x @ x.transpose(1, 2)).clamp(max=1.0), -1) @ x
        return one + clamped + torch.log_softmax(x @ x.transpose(1, 2), -1) @ x


def test_what_is_no_attention_is_products():
    x = torch.randn(2, TOKENS, WIDTH)
    found = operations(Rows(), x)
    assert found[Attention] == 1
    check(Rows(), x)


class Norms(nn.Module):
    """The norm of language models, written out: scaled, not scaled, and one whose mean is of another value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x):
        inverse = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3)
        y = self.weight * (x * inverse)
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-3)
        return y + x.relu() * inverse


def test_norms_that_are_written_out():
    x = torch.randn(2, TOKENS, WIDTH)
    assert operations(Norms(), x)[RMSNorm] == 2
    check(Norms(), x)


class Outer(nn.Module):
    def forward(self, x):
        return (x[:, :, :1] + x[:, :1]) * x.mean(1, keepdim=True) - x[:, :1, :1]


def test_broadcasts_of_both_operands():
    check(Outer(), torch.randn(2, TOKENS, WIDTH))
