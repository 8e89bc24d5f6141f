"""Transformers of the `transformers` library, small and with random weights: whole, and equal to PyTorch."""

import pytest
import torch
from torch.utils import _pytree as pytree

from spokeshave.compiler import compile_network
from spokeshave.errors import SpokeshaveError

pytest.importorskip("transformers")

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


@pytest.mark.slow
@pytest.mark.parametrize("lesser", ["avx2", "portable"])
def test_lesser_instruction_sets(lesser):
    torch.manual_seed(0)
    network, inputs = bert()
    check(compile_network(network.eval(), inputs, isa=lesser), network, inputs)


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
