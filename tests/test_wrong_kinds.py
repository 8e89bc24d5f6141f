"""Things of another kind than a call takes: one sentence that says what is right."""

import pytest
import torch
from torch import nn

import spokeshave
from spokeshave.allocation import (
    EqualSlope,
    EqualStep,
    GlobalThreshold,
    allocate_bits,
    allocate_equal_slope,
    allocate_sparsity,
)
from spokeshave.criteria import Magnitude, Taylor, saliencies
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import Together, TokenRatio
from spokeshave.plan import Plan
from spokeshave.schemes.registry import scheme_to_dict
from spokeshave.streaming import prune_experts
from spokeshave.structures import remove_structures

NETWORK, X = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(1, 4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Plan.load(None), "a plan's file must be a path, not None"),
        (lambda: Plan.from_yaml(3), "a plan's YAML must be a text, not of type int"),
        (lambda: spokeshave.load_deployment(None), "a deployment's folder must be a path, not None"),
        (lambda: prune_experts(None, "out"), "the checkpoint's folder must be a path, not None"),
        (lambda: prune_experts("in", None), "the folder to write must be a path, not None"),
        (
            lambda: spokeshave.compile_network(None, X),
            "the network must be a torch.nn.Module or an exported program, not None",
        ),
        (lambda: spokeshave.compile_network(NETWORK, None), "the example must be a batch of inputs: "),
        (lambda: remove_structures(NETWORK, 3, 0.5), "the example must be a batch of inputs: "),
        (
            lambda: allocate_sparsity(EqualStep(4.0), NETWORK),
            r"the method must be GlobalThreshold\(...\), not ",
        ),
        (lambda: allocate_bits(GlobalThreshold(0.5), NETWORK), r"the method must be EqualStep\(...\), not "),
        (
            lambda: allocate_equal_slope(EqualStep(4.0), NETWORK, X, [X], lambda share: None),
            rf"the method must be {EqualSlope.__name__}\(...\), not of type EqualStep",
        ),
        (
            lambda: allocate_sparsity(GlobalThreshold(0.5), NETWORK, "x"),
            "scheme must be a function of a layer's ",
        ),
        (
            lambda: saliencies(Taylor(), NETWORK, ["0.weight"], -1),
            "Taylor: batches must be a list or a loader",
        ),
        (lambda: saliencies(Magnitude(), NETWORK, None), "saliencies: names must be names of parameters"),
        (lambda: scheme_to_dict(None), "None is no scheme that is registered"),
        (lambda: TokenRatio(keep=0.5), "TokenRatio: keep must be a share for each reducer"),
        (lambda: Together(()), "Together: sessions must be a tuple of one or more"),
    ],
)
def test_the_sentence_says_what_is_right(call, sentence):
    with pytest.raises(SpokeshaveError, match=f"^{sentence}"):
        call()
