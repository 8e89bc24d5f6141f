"""GPT-2 with past keys and values: nested inputs and outputs, caches of `transformers` and plain tuples."""

import pytest
import torch
from torch import nn

from spokeshave.compiler import compile_network, load_deployment
from spokeshave.errors import SpokeshaveError

pytest.importorskip("transformers")

import transformers
from tests.compiler.transformer_networks import VOCABULARY, gpt2_language_model, mixtral

PAST, HEADS, SIZE = 7, 3, 16


class Legacy(nn.Module):
    """Past keys as a tuple of pairs, in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids, past):
        cache = transformers.DynamicCache(list(past))
        made = self.network(ids, past_key_values=cache, use_cache=True)
        return made.logits, tuple((layer.keys, layer.values) for layer in cache.layers)


def pairs(samples: int, past: int = PAST, heads: int = HEADS, size: int = SIZE):
    """Random keys and values of two layers."""
    generator = torch.Generator().manual_seed(1)
    random = lambda: torch.randn(samples, heads, past, size, generator=generator)  # noqa: E731
    return tuple((random(), random()) for _ in range(2))


def close(result, wanted) -> None:
    assert (result - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("tokens", [1, 5])
def test_a_cache_goes_in_and_comes_out_as_tuples(attention, tokens, tmp_path):
    torch.manual_seed(0)
    network, ids = gpt2_language_model(attention).eval(), torch.randint(0, VOCABULARY, (2, tokens))
    deployment = compile_network(network, (ids, transformers.DynamicCache(list(pairs(2)))))
    assert deployment.fallen_out == ()
    with torch.no_grad():
        wanted = network(ids, transformers.DynamicCache(list(pairs(2))))
    deployment.save(tmp_path / "saved")
    keys, values = zip(*pairs(2), strict=True)
    for run in (deployment, load_deployment(tmp_path / "saved")):
        for past in (transformers.DynamicCache(list(pairs(2))), (list(keys), list(values))):
            result = run(ids, past)
            close(result["logits"], wanted.logits)
            for layer, key, value in zip(wanted.cache.layers, *result["cache"], strict=True):
                close(key, layer.keys)
                close(value, layer.values)


@pytest.mark.slow
def test_plain_tuples_of_pairs():
    torch.manual_seed(0)
    network, ids = Legacy(gpt2_language_model()).eval(), torch.randint(0, VOCABULARY, (2, 3))
    deployment = compile_network(network, (ids, pairs(2)))
    assert deployment.fallen_out == ()
    with torch.no_grad():
        logits, past = network(ids, pairs(2))
    result, joined = deployment(ids, pairs(2))
    close(result, logits)
    close(joined[1][0], past[1][0])
    with pytest.raises(SpokeshaveError, match="takes 5 inputs, 3 were given"):
        deployment(ids, pairs(2)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "heads", "size"),
    [(gpt2_language_model, HEADS, SIZE), (lambda: mixtral()[0].network, 2, 8)],
    ids=["gpt2", "mixtral"],
)
def test_any_number_of_tokens_behind_any_past(network, heads, size):
    torch.manual_seed(0)
    network, ids = Legacy(network()).eval(), torch.randint(0, VOCABULARY, (2, 6))
    dynamic = {"tokens": {"ids": 1}, "past": {"past_*": 2}}
    deployment = compile_network(network, (ids, pairs(2, PAST, heads, size)), dynamic=dynamic)
    for tokens, past in ((6, PAST), (1, 1), (1, PAST), (4, 3), (6, PAST)):
        given = ids[:, :tokens], pairs(2, past, heads, size)
        with torch.no_grad():
            logits, joined = network(*given)
        result, grown = deployment(*given)
        close(result, logits)
        close(grown[1][1], joined[1][1])


@pytest.mark.slow
def test_words_are_generated_as_pytorch_generates_them():
    torch.manual_seed(0)
    network = Legacy(gpt2_language_model()).eval()
    words = torch.randint(0, VOCABULARY, (1, 5))
    dynamic = {"tokens": {0: 1}, "past": {"past_*": 2}}
    deployment = compile_network(network, (words, pairs(1, 20)), dynamic=dynamic)
    chosen = []
    for run in (network, deployment):
        past, last = pairs(1, 1), words
        for _ in range(8):
            with torch.no_grad():
                logits, past = run(last, past)
            last = logits[:, -1:].argmax(-1)
            chosen.append(last)
    assert torch.equal(torch.cat(chosen[:8]), torch.cat(chosen[8:]))
