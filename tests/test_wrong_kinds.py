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
from spokeshave.allocation.tokens import TokenBudget
from spokeshave.criteria import BlockFisher, Fisher, InputNorm, Magnitude, Random, Taylor, saliencies
from spokeshave.devices import load_device
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import (
    ADMM,
    ExpertDistillation,
    IterativeMagnitude,
    Polynomials,
    QuantizationAware,
    RandomizedBinary,
    Together,
    TokenDistillation,
    TokenLatency,
    TokenRatio,
    approximate,
    begin,
    find_masks,
    prune_and_train,
    train_under,
    weight_correlation,
)
from spokeshave.methods.rewinding import Weights
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.registry import scheme_to_dict
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.streaming import prune_experts
from spokeshave.structures import MultiplyAdds, remove_structures
from spokeshave.tokens.staircase import Staircase
from spokeshave.workload import trace

NETWORK, X = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(1, 4)
LAYER = trace(NETWORK, X).layers[0]
METHOD = IterativeMagnitude(0.5)
STAIRS = Staircase((1, 17), (1.0, 17.0))


def halves(sparsity):
    return Plan((Rule("*", Unstructured(sparsity)),))


def loop(network, session):
    """Does nothing."""


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
        (lambda: Taylor(loss=3), "Taylor: loss must be a function, not 3"),
        (lambda: Fisher(loss=None), "Fisher: loss must be a function, not None"),
        (lambda: Random("x"), "Random: seed must be a whole number from 0 up, not 'x'"),
        (
            lambda: saliencies(Taylor(), NETWORK, [], [(X, X)]),
            "saliencies: names must be names of parameters",
        ),
        (
            lambda: saliencies(Taylor(), NETWORK, ["0.weight"], [(X, "x")]),
            "the labels of a batch must be a tensor, not of type str",
        ),
        (
            lambda: saliencies(InputNorm(), NETWORK, ["0.weight"], [(1, 2)]),
            "the network cannot be run on a batch of these inputs: ",
        ),
        (lambda: EqualSlope(shares=None), "equal slope: shares must be numbers, not None"),
        (lambda: EqualSlope(power="x"), "equal slope: power must be a function, not 'x'"),
        (
            lambda: GlobalThreshold(0.5, sensitivity="x"),
            "global threshold: sensitivity must be a function, not 'x'",
        ),
        (
            lambda: EqualSlope(shares=(1, 0.5, 0, -0.5)),
            "equal slope: shares must go down from 1 in three even steps or more, not below 0",
        ),
        (lambda: EqualSlope(convex="no"), "equal slope: convex must be True or False, not 'no'"),
        (lambda: EqualStep(4.0, whole=1), "equal step: whole must be True or False, not 1"),
        (lambda: Taylor(training="yes"), "Taylor: training must be True or False, not 'yes'"),
        (
            lambda: BlockFisher((True, 4)),
            r"BlockFisher: block must be two positive whole numbers, not \(True, 4\)",
        ),
        (
            lambda: MultiplyAdds(0.5, "0"),
            r"MultiplyAdds: layers must be patterns of layers, such as \(\"head\",\), not '0'",
        ),
        (
            lambda: QuantizationAware(learned_step="yes"),
            "QuantizationAware: learned_step must be True or False, not 'yes'",
        ),
        (
            lambda: QuantizationAware(fixed_step=1),
            "QuantizationAware: fixed_step must be True or False, not 1",
        ),
        (
            lambda: ExpertDistillation(NETWORK, own_states="no"),
            "ExpertDistillation: own_states must be True or False, not 'no'",
        ),
        (lambda: Polynomials(gelu="1"), "Polynomials: gelu must be above 0 and at most 1, not '1'"),
        (
            lambda: Polynomials(attention=True),
            "Polynomials: attention must be above 0 and at most 1, not True",
        ),
        (
            lambda: RandomizedBinary(rectify="1"),
            "RandomizedBinary: rectify must be above 0.5 and at most 1, not '1'",
        ),
        (
            lambda: RandomizedBinary(36),
            r"RandomizedBinary: columns must be Columns\(...\) or None, not of type int",
        ),
        (lambda: Together((3,)), "Together: sessions must be a tuple of one or more, such as begin"),
        (
            lambda: TokenRatio((0.7, "0.4")),
            "TokenRatio: each share of keep must be above 0 and at most 1, not '0.4'",
        ),
        (lambda: TokenRatio((0.5,), "2"), "TokenRatio: strength must be above 0 and finite, not '2'"),
        (lambda: TokenRatio((0.5,), 2.0, "no"), "TokenRatio: per_sample must be True or False, not 'no'"),
        (
            lambda: TokenLatency(3, 1.0),
            "TokenLatency: block must be a Staircase of one block, not of type int",
        ),
        (lambda: TokenLatency(STAIRS, "1"), "TokenLatency: limit must be above 0 and finite, not '1'"),
        (lambda: TokenLatency(STAIRS, 1.0, -1), "TokenLatency: strength must be above 0 and finite, not -1"),
        (lambda: TokenDistillation(None), "TokenDistillation needs a network, a torch.nn.Module, not None"),
        (
            lambda: TokenDistillation(NETWORK, "1"),
            "TokenDistillation: strength must be above 0 and finite, not '1'",
        ),
        (
            lambda: TokenBudget("1", STAIRS, 4, 16),
            "TokenBudget: limit must be at least 0 and finite, not '1'",
        ),
        (
            lambda: TokenBudget(1.0, STAIRS, 4, True),
            "TokenBudget: patches must be a whole number from 1 up, not True",
        ),
        (
            lambda: TokenBudget(1.0, STAIRS, 4, 16, shares=(1, "0.5")),
            "TokenBudget: each of shares must be above 0 and at most 1, not '0.5'",
        ),
        (lambda: EqualStep(4.0, sensitivity="x"), "equal step: sensitivity must be a function, not 'x'"),
        (
            lambda: GlobalThreshold(0.5, dense=None),
            r"global threshold: dense must be patterns of layers, .*, not None",
        ),
        (
            lambda: allocate_sparsity(GlobalThreshold(0.5, sensitivity=lambda name, weight: "x"), NETWORK),
            "the sensitivity of 0.weight must be a number above 0, not 'x'",
        ),
        (
            lambda: find_masks(None, NETWORK, halves, loop),
            r"the method must be IterativeMagnitude\(...\), not None",
        ),
        (lambda: find_masks(METHOD, None, halves, loop), "iterative magnitude needs a network, "),
        (
            lambda: find_masks(METHOD, NETWORK, halves, loop),
            r"iterative magnitude: round 1 left every weight as it was; train\(network, session\) must train ",
        ),
        (
            lambda: prune_and_train(METHOD, NETWORK, halves, loop, "x"),
            "iterative magnitude: reinitialise must be a function, not 'x'",
        ),
        (
            lambda: train_under(None, METHOD, NETWORK, halves, loop),
            "iterative magnitude: found must be what find_masks gave, not None",
        ),
        (
            lambda: train_under(Weights({}, None, {}), METHOD, NETWORK, halves, loop),
            "iterative magnitude: the weights that were found are of another network",
        ),
        (
            lambda: weight_correlation(None, {}, 0.2),
            r"the weights to compare must be a network's state_dict\(\)",
        ),
        (lambda: approximate(None, Polynomials()), "approximate needs a network, "),
        (
            lambda: begin(ADMM(), NETWORK, halves(0.5)).restore(None),
            r"the state to restore must be what state\(\) ",
        ),
        (lambda: load_device(None), "a device must be a name, or the path of a TOML file, not None"),
        (lambda: load_device("host").supports(None, LAYER), r"supports needs a scheme, such as .*, not None"),
        (
            lambda: load_device("zcu102").supports(FixedPoint(8), None),
            "supports: the layer must be one of a workload's layers, not None",
        ),
        (
            lambda: load_device("forms").cost(None),
            r"forms: the workload must be what trace\(network, example\) gives",
        ),
        (
            lambda: load_device("isaac").cost(trace(NETWORK, X), "x"),
            "isaac: the plan must be a Plan or None, not of type str",
        ),
        (lambda: Plan(None), "a plan's rules must be rules, such as .*, not None"),
        (
            lambda: Unstructured(0.5).supports(None),
            "a scheme: a shape must be a tuple of sizes above 0, not None",
        ),
        (lambda: BlockColumnRow(0.5).supports((0, 4)), "a scheme: a shape must be a tuple of sizes above 0"),
        (lambda: Patterns().supports(3), "a scheme: a shape must be a tuple of sizes above 0, not 3"),
        (
            lambda: FixedPoint(8).contains(torch.zeros(0, 4)),
            r"a scheme: the weight is empty, of shape \(0, 4\)",
        ),
    ],
)
def test_the_sentence_says_what_is_right(call, sentence):
    with pytest.raises(SpokeshaveError, match=f"^{sentence}"):
        call()
