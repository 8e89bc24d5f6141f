"""The matrix on published architectures, made smaller: network x scheme x precision x threads, each against PyTorch.

As `test_equivalence.py`, with this CPU's own instruction set. Tolerances are of the largest output, 1e-4 for float32;
root mean square, 0.03 for bfloat16 and 0.1 for int8: these networks are up to 53 layers deep.
"""

from collections.abc import Callable

import pytest
import torch
from tests.compiler import transformer_networks
from tests.compiler.test_equivalence import FLOAT_TOLERANCE, INTEGER_TOLERANCE, SCHEMES, prune
from torch import Tensor, nn

from spokeshave.compiler import compile_network
from spokeshave.nesting import flattened
from spokeshave.networks.imagenet import MobileNetV2, ResNet

BFLOAT16_TOLERANCE = 0.03
THREADS = (1, 2)

Made = tuple[nn.Module, tuple[Tensor, ...]]


def pictures(network: nn.Module) -> Made:
    """With batch norms that have seen pictures."""
    with torch.no_grad():
        network.train()(torch.randn(16, 3, 64, 64))
    return network, (torch.randn(2, 3, 64, 64),)


NETWORKS: dict[str, Callable[[], Made]] = {
    "resnet": lambda: pictures(ResNet([1, 1, 1, 1], bottleneck=True, classes=10)),
    "mobilenet_v2": lambda: pictures(MobileNetV2(classes=10)),
    "gru": lambda: (nn.GRU(13, 40, 2, batch_first=True, bidirectional=True), (torch.randn(2, 9, 13),)),
    **{
        name: transformer_networks.NETWORKS[name]
        for name in ("deit", "swin", "bert", "distilbert", "gpt2", "mixtral")
    },
}
INTEGERS = ("resnet", "mobilenet_v2", "deit", "swin", "gru")


def check(name: str, scheme: str, precision: str, close: Callable[[Tensor, Tensor], bool]) -> None:
    """Compile a network in a scheme and hold what it gives on any number of threads to PyTorch's results."""
    torch.manual_seed(3)
    network, inputs = NETWORKS[name]()
    plan = prune(network.eval(), SCHEMES[scheme])
    data = [(inputs,)] if precision == "int8" else None
    deployment = compile_network(network, inputs, plan, precision=precision, calibration=data)
    assert deployment.fallen_out == ()
    if precision != "float32":
        assert precision in {layer.precision for layer in deployment.manifest.layers}
    with torch.inference_mode():
        wanted = flattened(network(*inputs))[0]
    for threads in THREADS:
        deployment.threads = threads
        found = flattened(deployment(*inputs))[0]
        assert all(close(made, right) for made, right in zip(found, wanted, strict=True))


def within(most: float) -> Callable[[Tensor, Tensor], bool]:
    """Root mean square error, of the root mean square."""
    return lambda made, right: bool((made - right).square().mean() <= most**2 * right.square().mean())


@pytest.mark.parametrize("scheme", ["block_column_row", "n_of_m"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float32(name, scheme):
    check(
        name,
        scheme,
        "float32",
        lambda made, right: bool((made - right).abs().max() <= FLOAT_TOLERANCE * right.abs().max()),
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16(name):
    check(name, "block_column_row", "bfloat16", within(BFLOAT16_TOLERANCE))


@pytest.mark.parametrize("name", INTEGERS)
def test_int8(name):
    check(name, "block_column_row", "int8", within(INTEGER_TOLERANCE))
