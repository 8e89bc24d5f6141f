"""PyTorch itself: eager, eager with channels last, torch.compile, and each of them in bfloat16."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor_settings

from spokeshave.measure.peers.peer import PeerError, Run, Task


def eager(task: Task) -> Run:
    """The network as it is, in inference mode."""
    return _inference(task.network, task.inputs)


def channels_last(task: Task) -> Run:
    """Eager with weights and feature maps in channels-last order, which suits some convolutions better."""
    if not any(parameter.ndim == 4 for parameter in task.network.parameters()):
        raise PeerError("the network has no 2-D convolution")
    network = copy.deepcopy(task.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = tuple(_in_channels_last(tensor) for tensor in task.inputs)
    return _inference(network, inputs)


def compiled(task: Task) -> Run:
    """torch.compile by Inductor with frozen weights, compiled here; needs a C++ compiler.

    Freezing is set globally round the first call: among torch.compile's `options` it is silently passed over.
    """
    network = torch.compile(task.network, isolate_recompiles=True)  # type: ignore[call-overload]

    def run() -> Any:
        with torch.no_grad():
            return network(*task.inputs)

    with inductor_settings.patch(freezing=True):
        run()
    return run


def in_bfloat16(task: Task) -> Task:
    """The same task with weights and real inputs in bfloat16."""
    inputs = tuple(tensor.bfloat16() if tensor.is_floating_point() else tensor for tensor in task.inputs)
    return replace(task, network=copy.deepcopy(task.network).bfloat16(), inputs=inputs)


def _inference(network: nn.Module, inputs: tuple[Tensor, ...]) -> Run:
    def run() -> Any:
        with torch.inference_mode():
            return network(*inputs)

    return run


def _in_channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
