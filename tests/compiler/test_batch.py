"""A deployment gives what the network gives for every batch size, wherever the batch lies, or is refused."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from spokeshave.batch import BatchAxes, find_batch_axes
from spokeshave.compiler import compile_network, load_deployment
from spokeshave.compiler.artifact import run_as_c
from spokeshave.errors import SpokeshaveError
from spokeshave.networks import binary_perceptron
from spokeshave.schemes.quantizers import Binary

TOLERANCE = 1e-5


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def check(deployment, network, *inputs) -> None:
    """Every output in PyTorch's shape and within rounding."""
    with torch.inference_mode():
        wanted = network(*inputs)
    for found, expected in zip(tree_leaves(deployment(*inputs)), tree_leaves(wanted), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_in_either_order(kind, batch_first, layers, bidirectional):
    torch.manual_seed(0)
    network = kind(5, 6, layers, batch_first=batch_first, bidirectional=bidirectional).eval()
    deployment = compile_network(network, torch.randn((1, 4, 5) if batch_first else (4, 1, 5)))
    assert not deployment.fallen_out
    for batch in (1, 3):
        check(deployment, network, torch.randn((batch, 4, 5) if batch_first else (4, batch, 5)))


def test_time_major_with_states_lengths_integers_and_files(tmp_path):
    torch.manual_seed(0)
    network, x, state = nn.GRU(5, 6, 2).eval(), torch.randn(7, 3, 5), torch.randn(2, 3, 6)
    deployment = compile_network(network, (x, state))
    check(deployment, network, x, state)
    deployment.save(tmp_path / "saved")
    check(load_deployment(tmp_path / "saved"), network, x, state)
    with pytest.raises(SpokeshaveError, match=r"shape \(6, 3, 5\), the network takes \(7, any number"):
        deployment(x[:6], state)
    free = compile_network(network, x, dynamic={0: 0})
    for length in (1, 4, 7):
        check(free, network, x[:length])
    integers = compile_network(network, x, precision="int8", calibration=[x])
    assert {layer.precision for layer in integers.manifest.layers} == {"int8"}
    with torch.inference_mode():
        assert (integers(x)[0] - network(x)[0]).abs().max() < 0.05
    assert integers.cost.latency_seconds > 0


def test_plain_c_of_a_time_major_network():
    network, x = nn.GRU(5, 6).eval(), torch.randn(4, 1, 5)
    run = run_as_c(compile_network(network, x).generated, (x.movedim(1, 0),))
    with torch.inference_mode():
        for found, expected in zip(run.outputs, network(x), strict=True):
            torch.testing.assert_close(found.flatten(), expected.flatten(), rtol=0, atol=TOLERANCE)


MOVED = {
    "reshape": lambda x: x.reshape(-1, 4),
    "transpose": lambda x: x.t(),
    "mean over rows": lambda x: x - x.mean(0, keepdim=True),
    "rows counted": lambda x: torch.arange(x.shape[0])[:, None] + x,
    "running sum": lambda x: x.cumsum(0),
    "turned round": lambda x: x.flip(0),
    "sum": lambda x: x.sum(0),
    "twice": lambda x: torch.cat([x, x], 0),
}


@pytest.mark.parametrize("name", MOVED)
def test_rows_that_are_no_samples(name):
    """Where rows belong together, columns are the samples."""
    network, x = Function(MOVED[name]), torch.randn(3, 8)
    check(compile_network(network, x), network, x)


MIXED = {
    "mean": lambda x: x - x.mean(),
    "norm over all": lambda x: nn.functional.layer_norm(x, x.shape),
    "attention between samples": lambda x: torch.softmax(x.flatten(1) @ x.flatten(1).t(), 1) @ x.flatten(1),
    "number of samples": lambda x: x.relu() * x.shape[0] * x.shape[1],
    "slightly": lambda x: x + 1e-4 * x.sum(),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_samples_are_refused(name):
    with pytest.raises(SpokeshaveError, match="mixes the samples of a batch"):
        compile_network(Function(MIXED[name]), torch.randn(3, 4, 8))


@pytest.mark.parametrize("mixing", [False, True])
def test_signs_of_sums_that_are_zero_do_not_look_like_mixed_samples(mixing):
    """Untrained binary weights have one size a row, so their sums are 0 now and then, but for rounding."""
    for seed in range(3):
        torch.manual_seed(seed)
        network = binary_perceptron(64, (64, 32), 4)
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and parameter.dim() > 1:
                parameter.data = Binary().project(parameter.data)
        last = Function(lambda x: x + x.sum()) if mixing else nn.Identity()
        whole, x = nn.Sequential(network, last).eval(), torch.randn(1, 64)
        if mixing:
            with pytest.raises(SpokeshaveError, match="mixes the samples of a batch"):
                find_batch_axes(whole, x)
        else:
            assert find_batch_axes(whole, x) == BatchAxes((0,), (0,))


def test_shapes_that_depend_on_values_are_refused_by_name():
    with pytest.raises(SpokeshaveError, match=r"layer 'index' uses .*, and the shape"):
        compile_network(Function(lambda x: x[x > 0]), torch.randn(3, 8))


def test_the_network_is_left_as_it_was():
    network, x = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()).train(), torch.randn(2, 4)
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    compile_network(network, x)
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
