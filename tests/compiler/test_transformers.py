"""Transformers of the `transformers` library, small and with random weights: whole, and equal to PyTorch."""

import pytest
import torch
from torch.utils import _pytree as pytree

from spokeshave.compiler import compile_network
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow

pytest.importorskip("transformers")

from tests.compiler.test_equivalence import INTEGER_TOLERANCE, prune
from tests.compiler.transformer_networks import NETWORKS, bert

TOLERANCE = 1e-4


def tensors(outputs) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(dict(outputs) if hasattr(outputs, "to_tuple") else outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def check(deployment, network, inputs) -> None:
    with torch.no_grad():
        reference = tensors(network(*inputs))
    for result, wanted in zip(tensors(deployment(*inputs)), reference, strict=True):
        assert (result - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_and_equal(name):
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]()
    deployment = compile_network(network.eval(), inputs)
    assert deployment.fallen_out == ()
    check(deployment, network, inputs)


MATRIX = ("deit", "swin", "bert", "distilbert", "gpt2", "mixtral")


@pytest.mark.slow
@pytest.mark.parametrize("lesser", [None, "avx2", "portable"])
@pytest.mark.parametrize("name", MATRIX)
def test_pruned_on_every_instruction_set(name, lesser):
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]()
    plan = prune(network.eval(), BlockColumnRow(0.75, (4, 8)))
    deployment = compile_network(network, inputs, plan, isa=lesser)
    for threads in (1, 2):
        deployment.threads = threads
        check(deployment, network, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [None, BlockColumnRow(0.75, (4, 8))], ids=["dense", "block_column_row"])
@pytest.mark.parametrize("name", MATRIX)
def test_int8(name, scheme):
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]()
    plan = prune(network.eval(), scheme)
    deployment = compile_network(network, inputs, plan, precision="int8", calibration=[(inputs,)])
    assert deployment.fallen_out == ()
    assert any(layer.precision == "int8" for layer in deployment.manifest.layers)
    with torch.no_grad():
        reference = tensors(network(*inputs))
    for threads in (1, 2):
        deployment.threads = threads
        for result, wanted in zip(tensors(deployment(*inputs)), reference, strict=True):
            error = (result - wanted).square().mean().sqrt()
            assert error <= INTEGER_TOLERANCE * wanted.square().mean().sqrt()


@pytest.mark.slow
def test_a_word_outside_the_vocabulary_is_refused():
    network, (ids, mask) = bert()
    deployment = compile_network(network.eval(), (ids, mask))
    for number in (-1, 101, 2**40):
        wrong = ids.clone()
        wrong[1, 3] = number
        with pytest.raises(SpokeshaveError, match=r"no row of layer 'embeddings\.word_embeddings'"):
            deployment(wrong, mask)
    check(deployment, network, (ids, mask))
