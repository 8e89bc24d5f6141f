"""Networks with recurrent layers, compiled whole, against PyTorch."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from spokeshave.compiler import compile_network, load_deployment
from spokeshave.compiler.compile import generate
from spokeshave.compiler.quantization.choose import Int8
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow

TOLERANCE = 1e-5


class Speech(nn.Module):
    """Layers over features in time-major order, a head on every step, and the states as outputs."""

    def __init__(self, kind: type, layers: int, bidirectional: bool, batch_first: bool) -> None:
        super().__init__()
        self.encoder = kind(9, 20, layers, bidirectional=bidirectional, batch_first=batch_first)
        self.head = nn.Linear(20 * (1 + bidirectional), 4)
        self.batch_first = batch_first

    def forward(self, x):
        y, state = self.encoder(x if self.batch_first else x.transpose(0, 1))
        state = (state,) if isinstance(state, torch.Tensor) else state
        y = y if self.batch_first else y.transpose(0, 1)
        return torch.tanh(self.head(y)), [part.transpose(0, 1) for part in state]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_compiled_equals_pytorch(kind, layers, bidirectional):
    torch.manual_seed(0)
    network = Speech(kind, layers, bidirectional, batch_first=layers == 2).eval()
    x = torch.randn(3, 11, 9)
    deployment = compile_network(network, x)
    assert not deployment.fallen_out
    with torch.inference_mode():
        head, states = network(x)
    deployment.threads = 2
    team = deployment(x)[0]
    deployment.threads = 1
    result, last = deployment(x)
    assert torch.equal(team, result), "the number of workers changes results"
    torch.testing.assert_close(result, head, rtol=0, atol=TOLERANCE)
    for part, expected in zip(last, states, strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=TOLERANCE)


class Continued(nn.Module):
    """A layer that goes on from a state that is given, or learned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(6, 12, 2, batch_first=True), nn.LSTM(12, 10, batch_first=True)
        self.h, self.c = nn.Parameter(torch.randn(1, 1, 10)), nn.Parameter(torch.randn(1, 1, 10))

    def forward(self, x, state):
        y, _ = self.first(x, state.transpose(0, 1).contiguous())
        batch = (1, x.shape[0], 10)
        return self.second(y, (self.h.expand(batch), self.c.expand(batch)))[0][:, -1]


def test_states_that_are_given_or_learned():
    network, x, state = Continued().eval(), torch.randn(3, 5, 6), torch.randn(3, 2, 12)
    deployment = compile_network(network, (x, state))
    assert not deployment.fallen_out
    with torch.inference_mode():
        torch.testing.assert_close(deployment(x, state), network(x, state), rtol=0, atol=TOLERANCE)


def pruned_network() -> tuple[nn.Module, Plan]:
    torch.manual_seed(0)
    network = nn.GRU(24, 64, 2, batch_first=True).eval()
    scheme = BlockColumnRow(0.9, block=(16, 24))
    for name, weight in network.named_parameters():
        if name.startswith("weight"):
            weight.data = scheme.project(weight.data)
    return network, Plan((Rule("weight*", scheme),))


def test_planned_weights_are_packed_and_checked():
    network, plan = pruned_network()
    x = torch.randn(2, 6, 24)
    with torch.inference_mode():
        torch.testing.assert_close(
            compile_network(network, x, plan)(x)[0], network(x)[0], rtol=0, atol=TOLERANCE
        )
        network.weight_hh_l1 += 1
    with pytest.raises(SpokeshaveError):
        compile_network(network, x, plan)


def test_weights_in_bfloat16():
    network, plan = pruned_network()
    x = torch.randn(2, 6, 24)
    deployment = compile_network(network, x, plan, precision="bfloat16")
    plain = compile_network(network, x, plan)
    assert deployment.manifest.precision == "bfloat16"
    assert {layer.precision for layer in deployment.manifest.layers} == {"bfloat16"}
    assert deployment.manifest.weight_bytes < 0.7 * plain.manifest.weight_bytes
    for name, weight in network.named_parameters():
        if name.startswith("weight"):
            weight.data = weight.data.bfloat16().float()
    with torch.inference_mode():
        torch.testing.assert_close(deployment(x)[0], network(x)[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_integers(kind):
    torch.manual_seed(0)
    network, x = Speech(kind, 2, True, batch_first=True).eval(), torch.randn(3, 11, 9)
    deployment = compile_network(network, x, precision="int8", calibration=[x])
    recurrent = [layer for layer in deployment.manifest.layers if layer.layer == "encoder"]
    assert [layer.precision for layer in recurrent] == ["int8"] * 4
    assert all(len(layer.weight_scale) == 2 * 20 * (3 if kind is nn.GRU else 4) for layer in recurrent)
    with torch.inference_mode():
        head, states = network(x)
    result, last = deployment(x)
    assert (result - head).abs().max() < 0.03
    for part, expected in zip(last, states, strict=True):
        assert (part - expected).abs().max() < 0.03
    deployment.threads = 2
    assert torch.equal(deployment(x)[0], result), "the number of workers changes results"


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", TOLERANCE), ("int8", 0.03)])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_any_length(kind, precision, tolerance):
    torch.manual_seed(0)
    network, x = Speech(kind, 2, True, batch_first=kind is nn.GRU).eval(), torch.randn(2, 17, 9)
    deployment = compile_network(network, x, precision=precision, calibration=[x], dynamic={"x": 1})
    for length in (17, 1, 2, 16, 17):
        with torch.inference_mode():
            head, states = network(x[:, :length])
        result, last = deployment(x[:, :length])
        torch.testing.assert_close(result, head, rtol=0, atol=tolerance)
        for part, expected in zip(last, states, strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=tolerance)


def test_integers_that_cost_too_much_are_left_out():
    network, x = nn.GRU(9, 20, batch_first=True).eval(), torch.randn(2, 7, 9)
    (layer,) = generate(network, x, precision=Int8([x], error_budget=1e-5)).manifest.layers
    assert layer.precision == "float32"
    assert "above the budget" in layer.reason


def test_integers_with_a_state_beyond_one():
    network, x, state = Continued().eval(), torch.randn(3, 5, 6), 5 * torch.randn(3, 2, 12)
    with torch.no_grad():
        network.h *= 4
    deployment = compile_network(network, (x, state), precision="int8", calibration=[((x, state), None)])
    assert [layer.precision for layer in deployment.manifest.layers] == ["int8"] * 3
    with torch.inference_mode():
        expected = network(x, state)
    assert (deployment(x, state) - expected).square().mean() < 0.01 * expected.square().mean()


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_saved_and_loaded(tmp_path, precision):
    network, plan = pruned_network()
    x = torch.randn(2, 6, 24)
    deployment = compile_network(network, x, plan, precision=precision, calibration=[x])
    deployment.save(tmp_path / "saved")
    assert torch.equal(load_deployment(tmp_path / "saved")(x)[0], deployment(x)[0])


def test_several_threads_at_once():
    network, plan = pruned_network()
    deployment = compile_network(network, torch.randn(1, 6, 24), plan)
    inputs = [torch.randn(3, 6, 24) for _ in range(32)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: deployment(x)[0], inputs))
    with torch.inference_mode():
        for x, result in zip(inputs, results, strict=True):
            torch.testing.assert_close(result, network(x)[0], rtol=0, atol=TOLERANCE)
