"""Whole networks in integers: against generated code, fake quantization, and every scheme of levels."""

import pytest
import torch
import torch.nn.functional as F
from tests.compiler.integers.fake_quantized import run_fake
from torch import nn

from spokeshave.compiler.compile import build
from spokeshave.compiler.integers import IntegerForm
from spokeshave.compiler.integers.batched import batch_values, run_batch
from spokeshave.compiler.integers.network import whole_network
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.operations import Dequantize, Quantized
from spokeshave.compiler.reference import run_operation, run_reference
from spokeshave.compiler.stages import generate_from_graph
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo

SHIFT = IntegerForm(rescale="shift", scales="power_of_two", per="tensor")
MULTIPLIER = IntegerForm(rescale="multiplier")


class Joined(nn.Module):
    """Strides, batch norms, residuals of both kinds, pools of both kinds, a join of channels, odd sizes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, 2, 1)
        self.norm = nn.BatchNorm2d(10)
        self.second = nn.Conv2d(10, 10, 3, 1, 1, groups=5)
        self.third = nn.Conv2d(10, 7, 1, bias=False)
        self.head = nn.Linear(17, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = F.relu6(self.second(x) + x)
        x = torch.cat((self.third(x), x), 1)
        x = F.max_pool2d(x, 2) - F.avg_pool2d(x, 2)
        return self.head(torch.relu(x).mean((2, 3)))


class Plain(nn.Module):
    """Nothing but what has kernels in integers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 10, 3, 2, 1), nn.Conv2d(10, 10, 3, 1, 1)
        self.third = nn.Conv2d(10, 6, 1)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x) + x)
        return self.third(F.max_pool2d(x, 2))


class Tokens(nn.Module):
    """Half a transformer's block."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(12), nn.Linear(12, 30), nn.Linear(30, 12)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


def in_integers(network, x, form, plan=None):
    return whole_network(network.eval(), x, [x], form, plan)


def joined(width=17):
    """The mean at the end is over 16 numbers, or over other counts with another width."""
    network = Joined()
    network.norm.running_mean.normal_()
    network.norm.weight.data.normal_()  # of both signs
    return network.eval(), torch.randn(5, 3, 17, width)


def test_generated_code_computes_the_same_numbers():
    network, x = Plain().eval(), torch.randn(3, 3, 21, 17)
    whole = in_integers(network, x, IntegerForm(rescale="float"))
    assert [type(node.operation).__name__ for node in whole.graph.nodes].count("Quantized") == 3
    native = NativeDeployment(*build(generate_from_graph(whole.graph, whole.structure, {}, best_here())))
    assert torch.equal(native(x), run_batch(whole.graph, [x])[0])


@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("signed", [False, True])
def test_shifts_compute_what_fake_quantization_does(bits, signed):
    network, x = joined()
    form = IntegerForm(bits, bits, "tensor", "power_of_two", "shift", signed=signed)
    whole = in_integers(network, x, form)
    made, fake = batch_values(whole.graph, [x]), run_fake(whole.graph, x)
    grids = grids_of(whole.graph)
    assert len(grids) == 8
    for name, grid in grids.items():
        assert torch.equal((made[name].double() - grid.zero_point) * grid.scale, fake[name])
    assert torch.equal(made[whole.graph.outputs[0]].double(), fake[whole.graph.outputs[0]].float().double())


def grids_of(graph):
    """Quantizations by the values that nodes make."""
    found = {}
    for node in graph.nodes:
        if not isinstance(node.operation, Dequantize):
            grid = getattr(node.operation, "output", None) or getattr(node.operation, "quantization", None)
            found |= {node.outputs[0]: grid} if grid else {}
    return found


def test_multipliers_round_as_float32_scales_do_but_for_ties():
    network, x = joined()
    float32, multiplied = (in_integers(network, x, form) for form in (IntegerForm(), MULTIPLIER))
    values = batch_values(float32.graph, [x])
    others = {node.output: node for node in multiplied.graph.nodes}
    same = [node for node in float32.graph.nodes if node.output in grids_of(float32.graph)]
    assert len(same) == 8
    for node in same:
        read, shape = [values[name] for name in node.inputs], (5, *float32.graph.shape(node.output)[1:])
        (other,) = run_operation(others[node.output].operation, read, multiplied.graph.weights, shape, {})
        apart = (values[node.output].int() - other.int()).abs()
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 0.01


@pytest.mark.parametrize("form", [IntegerForm(), MULTIPLIER, SHIFT], ids=lambda form: form.rescale)
def test_a_batch_gives_what_its_samples_give(form):
    network, x = joined()
    graph = in_integers(network, x, form).graph
    assert torch.equal(run_batch(graph, [x])[0], run_reference(graph, [x])[0])


def test_the_network_is_close_to_float32():
    network, x = joined(width=23)
    for form, most in ((IntegerForm(), 0.03), (MULTIPLIER, 0.03), (SHIFT, 0.08)):
        (y,) = run_batch(in_integers(network, x, form).graph, [x])
        assert (y - network(x)).norm() < most * network(x).norm()


@pytest.mark.parametrize(
    "scheme",
    [
        FixedPoint(4),
        FixedPoint(11, per="tensor"),
        PowerOfTwo(4),
        PowerOfTwo(5),
        Binary(),
        MixedRows(FixedPoint(4), PowerOfTwo(4)),
        MixedRows(FixedPoint(8), FixedPoint(3), share=0.3),
        BlockColumnRow(0.5, block=(2, 4)) & FixedPoint(6),
    ],
    ids=str,
)
def test_weights_keep_the_levels_of_their_scheme(scheme):
    network, x = joined()
    for layer in (network.first, network.third):
        layer.weight.data = scheme.project(layer.weight.data)
    plan = Plan((Rule("first", scheme), Rule("third", scheme)))
    whole = in_integers(network, x, MULTIPLIER, plan)
    first, third = (
        node.operation
        for node in whole.graph.nodes
        if node.layer in ("first", "third") and isinstance(node.operation, Quantized)
    )
    for layer, operation, folded in ((network.first, first, network.norm), (network.third, third, None)):
        scale = 1.0 if folded is None else (folded.weight / (folded.running_var + folded.eps).sqrt()).detach()
        levels = whole.graph.weights[operation.weight]
        back = levels.double() * whole.graph.weights[operation.weight_scale].double().view(-1, 1, 1, 1)
        expected = (layer.weight.detach().double().flatten(1).T * scale).T.view(back.shape)
        torch.testing.assert_close(back, expected, rtol=1e-6, atol=0)
        assert len(levels.unique()) <= 2 * 2**10


def test_weights_outside_their_scheme_are_refused():
    network, x = joined()
    with pytest.raises(
        SpokeshaveError, match=r"third.weight does not lie in FixedPoint\(bits=8.*fit the network"
    ):
        in_integers(network, x, MULTIPLIER, Plan((Rule("third", FixedPoint(8)),)))


@pytest.mark.parametrize("scheme", [FixedPoint(8), Binary()], ids=str)
def test_rows_that_give_nothing_are_rows_of_nothing(scheme):
    """A row of zeros, and one that a batch norm multiplies by 0, neither with a bias."""
    network, x = joined()
    network.first.weight.data[2] = 0
    for values in (network.first.bias, network.norm.running_mean, network.norm.bias):
        values.data.zero_()
    network.norm.weight.data[5] = 0
    network.first.weight.data = scheme.project(network.first.weight.data)
    whole = in_integers(network, x, MULTIPLIER, Plan((Rule("first", scheme),)))
    (y,) = run_batch(whole.graph, [x])
    assert (y - network(x)).norm() < 0.03 * network(x).norm()


def test_a_codebook_has_no_levels_so_its_weights_are_rounded():
    network, x = joined()
    network.third.weight.data = Codebook(2).project(network.third.weight.data)
    whole = in_integers(network, x, MULTIPLIER, Plan((Rule("third", Codebook(2)),)))
    (operation,) = (
        node.operation
        for node in whole.graph.nodes
        if node.layer == "third" and isinstance(node.operation, Quantized)
    )
    assert whole.graph.weights[operation.weight].dtype == torch.int8


def test_what_stays_float_is_named():
    network, x = Tokens(), torch.randn(4, 9, 12)
    whole = in_integers(network, x, IntegerForm(rescale="multiplier"))
    assert whole.floats == (("norm (LayerNorm)", "LayerNorm has no form in whole numbers"),)
    kinds = [type(node.operation).__name__ for node in whole.graph.nodes]
    assert "Lookup" in kinds  # gelu is a table
    (y,) = run_batch(whole.graph, [x])
    assert (y - network(x)).norm() < 0.03 * network(x).norm()


def test_a_table_is_the_function_of_every_level():
    network, x = nn.Sequential(nn.Linear(6, 7), nn.Hardswish(), nn.Linear(7, 3)).eval(), torch.randn(50, 6)
    whole = in_integers(network, x, IntegerForm(rescale="multiplier", activation_bits=6))
    values, grids = batch_values(whole.graph, [x]), grids_of(whole.graph)
    (node,) = (node for node in whole.graph.nodes if type(node.operation).__name__ == "Lookup")
    of, to = grids[node.inputs[0]], grids[node.output]
    real = F.hardswish((values[node.inputs[0]].float() - of.zero_point) * of.scale)
    expected = (real / to.scale + to.zero_point).round().clamp(to.low, to.high)
    assert torch.equal(values[node.output].float(), expected)


def test_a_row_that_is_next_to_nothing_leaves_room_for_its_bias():
    network, x = joined()
    network.second.weight.data[3] *= 1e-20
    whole = in_integers(network, x, MULTIPLIER)
    (operation,) = (
        node.operation
        for node in whole.graph.nodes
        if node.layer == "second" and isinstance(node.operation, Quantized)
    )
    assert not whole.graph.weights[operation.weight][3].any()
    assert whole.graph.weights[operation.weight][2].any()
    (y,) = run_batch(whole.graph, [x])
    assert (y - network(x)).norm() < 0.03 * network(x).norm()


def test_scales_that_are_no_shift_apart_are_refused():
    network, x = joined()
    network.third.weight.data = PowerOfTwo(3).project(network.third.weight.data)
    with pytest.raises(SpokeshaveError, match="third: a shift cannot rescale by"):
        in_integers(network, x, SHIFT, Plan((Rule("third", PowerOfTwo(3)),)))


def test_wrong_forms_get_one_sentence():
    for settings, said in (
        ({"weight_bits": 1}, "weight_bits must be"),
        ({"rescale": "shift"}, "needs scales='power_of_two'"),
        ({"rounding": "twice"}, "needs rescale='multiplier'"),
        ({"observer": "best"}, "observer must be one of"),
        ({"signed": 1}, "signed must be true or false"),
    ):
        with pytest.raises(SpokeshaveError, match=said):
            IntegerForm(**settings)
    with pytest.raises(SpokeshaveError, match="calibration data is empty"):
        whole_network(Plain().eval(), torch.randn(1, 3, 8, 8), [])
    with pytest.raises(SpokeshaveError, match="sample has shape 4x8x8, the network was compiled for 3x8x8"):
        whole_network(Plain().eval(), torch.randn(1, 3, 8, 8), [torch.randn(2, 4, 8, 8)])
