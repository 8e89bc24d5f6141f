"""Layers of a binary network, trained on the built-in digits, as products for the binary lanes of the generated engine.

A batch norm and the sign behind it are a bound on the sum of signs, which goes into the bias; rows of negative scale
are turned round. The sign of a level is then the network's next activation.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spokeshave.data import DATA, Data
from spokeshave.devices.fpga.engine import LaneKind
from spokeshave.devices.fpga.verilog.product import Numbers
from spokeshave.measure import evaluate
from spokeshave.methods import RandomizedBinary, begin, train
from spokeshave.networks.binary import binary_digits_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import Binary

EPOCHS = 10
BINARY: LaneKind = "binary"
PLAN = Plan((Rule("8.weight", None), Rule("*.weight", Binary())))  # the last layer gives scores, not signs


def binary_products() -> Iterator[tuple[str, str, Numbers, Tensor]]:
    """Network, layer, product and the levels that must come of it, on all held-out images."""
    data = DATA["digits"]()
    network = trained(data)
    about = f"binary perceptron, digits ({evaluate(network, data.held_out).top1:.1%})"
    x, modules = torch.cat([images for images, _ in data.held_out]), list(network)
    with torch.inference_mode():
        for place, module in enumerate(modules[:8]):
            if isinstance(module, nn.Linear):
                norm, sign = modules[place + 1 : place + 3]
                activations = sign(norm(module(x)))
                numbers = product_of(module, norm, x)
                sums = numbers.weights @ numbers.inputs + numbers.bias[:, None]
                assert torch.equal(sums >= 0, activations.T > 0)
                yield about, str(place), numbers, sums.clamp(numbers.low, numbers.high)
            x = module(x)


def trained(data: Data) -> nn.Sequential:
    """The network of signs by straight-through training."""
    torch.manual_seed(0)
    network = binary_digits_network()
    session = begin(RandomizedBinary(), network, PLAN)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    train(network, data, EPOCHS, optimizer=optimizer, session=session)
    session.finish()
    return network.eval()


def product_of(layer: nn.Linear, norm: nn.Module, x: Tensor) -> Numbers:
    """Signs `x`, `[N, columns]`, times signs of weights, and the bound that the batch norm makes of them."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    scale, ahead = layer.weight.abs().amax(1).double() * gain, norm.bias - norm.running_mean * gain
    turned = torch.where(scale < 0, -1, 1)
    bias = (ahead.double() / scale * turned).floor().long()
    nothing = torch.zeros_like(bias)
    return Numbers(
        weights=torch.where(layer.weight >= 0, 1, -1) * turned[:, None],
        kinds=(BINARY,) * len(bias),
        inputs=x.T.long(),
        bias=bias,
        multiplier=nothing + 1,
        shift=nothing,
    )
