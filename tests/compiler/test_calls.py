"""Calls of one deployment in ways that change: sizes, threads, modes and kinds of inputs follow each other."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from spokeshave.compiler import NativeDeployment, compile_network, native
from spokeshave.errors import SpokeshaveError

WIDE, LONGEST = 16, 8


class Two(nn.Module):
    """Two inputs; one of the outputs is an input, another is made by an operator without a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDE, 8), nn.Linear(WIDE, 8)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        apart = torch.special.erfcx(self.first(left))
        return self.second(right) + apart, left, apart


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, 4)).eval()


@pytest.fixture(scope="module")
def deployment(network: nn.Module) -> NativeDeployment:
    return compile_network(network, torch.zeros(1, LONGEST, WIDE), dynamic={0: 1})


@pytest.fixture
def restored() -> Iterator[None]:
    """PyTorch's defaults as they were."""
    yield
    torch.set_default_dtype(torch.float32)


def close(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, atol=1e-5)


def test_sizes_and_threads_that_take_turns(network, deployment):
    for samples, length, threads in [
        (1, 8, 1),
        (3, 2, 1),
        (3, 2, 3),
        (0, 5, 2),
        (5, 2, 4),
        (1, 8, 1),
        (3, 2, 2),
    ]:
        deployment.threads = threads
        x = torch.randn(samples, length, WIDE)
        assert close(deployment(x), network(x))
    deployment.threads = 1


def test_more_sizes_than_are_remembered(network, deployment, monkeypatch):
    monkeypatch.setattr(native, "REMEMBERED", 3)
    for length in [*range(1, LONGEST + 1), *range(1, LONGEST + 1)]:
        x = torch.randn(2, length, WIDE)
        assert close(deployment(x), network(x))
    assert len(deployment._known) <= 3


def test_sizes_that_change_in_eight_threads(network, deployment):
    inputs = [torch.randn(1 + i % 3, 1 + i, WIDE) for i in range(LONGEST)]
    expected = [network(x) for x in inputs]
    wrong = []

    def work(first: int) -> None:
        for call in range(200):
            i = (first + call) % LONGEST
            wrong.extend([i] * (not close(deployment(inputs[i]), expected[i])))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Tensor.double, "float64"),
        (Tensor.to_sparse, "is sparse"),
        (Tensor.to_mkldnn, "is sparse"),
        (lambda x: x.to("meta"), "on meta"),
        (Tensor.numpy, "must be a torch.Tensor"),
        (lambda x: x[..., 1:], "has shape"),
        (lambda x: x[:, :0], "0 long"),
        (lambda x: (x, x), "takes 1 inputs"),
    ],
)
def test_what_is_wrong_is_told_after_what_was_right(deployment, change, message):
    x = torch.randn(2, 5, WIDE)
    expected = deployment(x)
    for _ in range(2):
        with pytest.raises(SpokeshaveError, match=message):
            deployment(change(x))
    assert torch.equal(deployment(x), expected)


def test_every_call_has_outputs_of_its_own(network, deployment):
    first, second = torch.randn(2, 5, WIDE), torch.randn(2, 5, WIDE)
    kept = deployment(first)
    deployment(second).zero_()
    assert close(kept, network(first))
    assert kept.is_contiguous()
    kept.resize_(2, 50, 4).zero_()


def test_outputs_are_float32_whatever_the_default(deployment, restored):
    x = torch.randn(3, 7, WIDE)
    expected = deployment(x)
    torch.set_default_dtype(torch.float64)
    assert torch.equal(deployment(x), expected)
    torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert torch.equal(deployment(x), expected)


def test_modes_of_autograd_take_turns(deployment):
    x = torch.randn(4, 3, WIDE, requires_grad=True)
    with torch.inference_mode():
        inside = deployment(x)
    outside, plain = deployment(x), deployment(x.detach())
    assert inside.is_inference()
    for output in (outside, plain):
        assert not output.is_inference()
        assert not output.requires_grad
        output.requires_grad_().sum().backward()
    assert torch.equal(inside, outside)
    assert torch.equal(deployment(nn.Parameter(x.detach())), outside)


def test_nested_inputs_and_inputs_that_are_outputs():
    network = Two().eval()
    left, right = torch.randn(3, WIDE), torch.randn(WIDE, 3).t()
    deployment = compile_network(network, (left[:1], right[:1]))
    assert deployment.fallen_out
    for inputs in [(left, right), ({"left": left, "right": [right]},), (left, (right,)), (right, left)]:
        given = (right, left) if inputs[0] is right else (left, right)
        expected, found = network(*given), deployment(*inputs)
        assert all(map(close, found, expected))
        assert found[1] is given[0]
