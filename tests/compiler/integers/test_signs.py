"""Networks of signs in whole numbers: every sign is that of the float32 network."""

import pytest
import torch
from torch import nn

from spokeshave.compiler.integers import IntegerForm, whole_network
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.integers.signs import SIGNS
from spokeshave.compiler.operations import Quantized
from spokeshave.errors import SpokeshaveError
from spokeshave.networks.binary import Sign, binary_convolutional
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import Binary

FORMS = (
    IntegerForm(),
    IntegerForm(rescale="multiplier", joins="separate"),
    IntegerForm(per="tensor", scales="power_of_two", rescale="shift", signed=True),
)
PLAN = Plan((Rule("20", None), Rule("*", Binary())))


def network():
    """Norms of both signs, one of them 0: its output has the sign of its bias."""
    torch.manual_seed(0)
    made = binary_convolutional(3, 8, (6, 6, 8, 8), 4).double()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean):
                values.normal_()
            module.weight.data[1] = 0
    for name, scheme in PLAN.resolve(made).items():
        weight = made.get_parameter(name)
        weight.data = scheme.project(weight.data)
    return made.float().eval()


def signs_of(made, x):
    """What every Sign of a network makes."""
    found = []
    hooks = [
        module.register_forward_hook(lambda _, __, y: found.append(y))
        for module in made
        if isinstance(module, Sign)
    ]
    with torch.inference_mode():
        made(x)
    for hook in hooks:
        hook.remove()
    return found


def test_numbers_without_a_sign_are_refused():
    made, x = network(), torch.randn(2, 3, 8, 8)
    graph = whole_network(made, x[:1], [x], FORMS[0], PLAN).graph
    x[1, 2, 3, 3] = float("nan")
    with pytest.raises(SpokeshaveError, match="holds NaN or infinite numbers"):
        batch_values(graph, [x])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.rescale)
def test_signs_are_those_of_float32(form):
    made, x = network(), torch.randn(16, 3, 8, 8)
    graph = whole_network(made, x[:1], [x], form, PLAN).graph
    layers = [node for node in graph.nodes if isinstance(node.operation, Quantized)]
    assert all(node.operation.input == SIGNS for node in layers)
    assert all(bool((graph.weights[node.operation.weight].abs() == 1).all()) for node in layers[:-1])
    values = batch_values(graph, [x])
    for place, exact in enumerate(signs_of(made, x)[1:], 1):
        assert torch.equal(values[f"where_{place} whole"].float(), exact)


def test_a_sum_that_is_the_bound_gives_1():
    made = nn.Sequential(Sign(), nn.Linear(4, 2), Sign(), nn.Linear(2, 1)).eval()
    made[1].weight.data = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1]])
    made[1].bias.data = torch.tensor([2.0, -2.0])
    x = torch.tensor([[-1.0, -1, -1, 1], [-1, -1, -1, -1], [1, 1, 1, 1]])
    graph = whole_network(made, x[:1], [x], FORMS[1]).graph
    (sums,) = [node for node in graph.nodes if isinstance(node.operation, Quantized)][:1]
    assert torch.equal(batch_values(graph, [x])[sums.output] >= 0, signs_of(made, x)[1] > 0)
