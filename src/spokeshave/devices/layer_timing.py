"""One layer of a workload, made with random weights, compiled alone and timed on this CPU."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.compiler import LayerTime, compile_network
from spokeshave.devices.assignment import random_weight
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.processor import limited_threads
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Kind, Layer

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Weighted = nn.Linear | Convolution | Transposed

REPEATS = 15
COPIES = ("input", "output")  # of a whole network, between PyTorch's order of elements and the kernels'


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for one sample; bytes are those of weights and indices as kernels read them."""

    seconds: float
    weight_bytes: int


class _Product(nn.Module):
    """A product of two activations."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left @ right


def time_layer(layer: Layer, scheme: Scheme | None, isa: str | None = None) -> LayerCost:
    """Compile a layer whose random weights lie in its scheme, and take the median time of its steps.

    The weights of a recurrent layer that multiply its state are timed with one vector, once for each step. Raises
    SpokeshaveError when the scheme does not suit the layer.
    """
    reason = scheme.supports(layer.weight_shape) if scheme is not None else None
    if reason is not None:
        raise SpokeshaveError(f"the plan does not suit {layer.name}: {reason}")
    with limited_threads(1):
        inputs = tuple(torch.randn(shape) for shape in _input_shapes(layer))
        plan = None if scheme is None else Plan((Rule("0", scheme),))
        deployment = compile_network(_network(layer, scheme), inputs, plan, isa)
        seconds = sum(row.seconds for row in deployment.profile(*inputs, repeats=REPEATS) if _is_own(row))
    times = layer.positions if _multiplies_state(layer) else 1
    return LayerCost(times * seconds, deployment.manifest.weight_bytes)


def _is_own(row: LayerTime) -> bool:
    return row.operation not in COPIES


def _input_shapes(layer: Layer) -> tuple[tuple[int, ...], ...]:
    if layer.kind == "matmul" and layer.parameter is None:
        return (1, layer.positions, layer.columns), (1, layer.columns, layer.rows)
    return ((1, layer.columns),) if _multiplies_state(layer) else (layer.input_shape,)


def _multiplies_state(layer: Layer) -> bool:
    return layer.kind == "recurrent" and ".weight_hh_" in f".{layer.parameter}"


def _network(layer: Layer, scheme: Scheme | None) -> nn.Module:
    """The layer as the only one of a network, in which its name is `0`."""
    if layer.kind == "matmul" and layer.parameter is None:
        return _Product()
    module = MODULES.get(layer.kind, _linear)(layer)
    with torch.no_grad():
        module.weight.copy_(random_weight(tuple(module.weight.shape), scheme))
    return nn.Sequential(module).eval()


def _linear(layer: Layer) -> nn.Linear:
    return nn.Linear(layer.columns, layer.rows, bias=layer.bias is not None)


def _convolution(layer: Layer) -> Convolution:
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(layer.kernel) - 1]
    made: Convolution = kind(
        layer.columns // prod(layer.kernel) * layer.groups,
        layer.rows,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    return made


def _transposed(layer: Layer) -> Transposed:
    kind: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[len(layer.kernel) - 1]
    axes = zip(layer.input_shape[2:], layer.stride, layer.padding, layer.dilation, layer.kernel, strict=True)
    least = [(read - 1) * step - 2 * pad + gap * (taps - 1) + 1 for read, step, pad, gap, taps in axes]
    made: Transposed = kind(
        layer.rows,
        layer.columns // prod(layer.kernel) * layer.groups,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        output_padding=tuple(size - low for size, low in zip(layer.output_shape[2:], least, strict=True)),
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    return made


MODULES: Mapping[Kind, Callable[[Layer], Weighted]] = {"convolution": _convolution, "transposed": _transposed}
