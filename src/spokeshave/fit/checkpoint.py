"""Checkpoints: network, optimiser and session as flat tensors in one safetensors file."""

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.fit.run_folder import CHECKPOINTS, RunFolder


def write_checkpoint(run: RunFolder, name: str, parts: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Write parts such as `network` and `optimizer`; returns the file's name in the run."""
    tensors = {
        f"{part}/{key}": tensor.detach().clone(memory_format=torch.contiguous_format)
        for part, entries in parts.items()
        for key, tensor in entries.items()
    }
    file = f"{CHECKPOINTS}/{name}.safetensors"
    run.write(file, save(tensors))
    return file


def read_checkpoint(run: RunFolder, file: str) -> dict[str, dict[str, Tensor]]:
    """The parts of a checkpoint; raises SpokeshaveError when it is missing or damaged."""
    try:
        tensors = load((run.path / file).read_bytes())
    except (OSError, SafetensorError) as error:
        raise SpokeshaveError(f"the run {run.path} is damaged: {file} cannot be read ({error})") from error
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = tensor
    return parts


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], run: RunFolder, file: str) -> None:
    """Put a checkpoint's weights into the network; raises SpokeshaveError when they do not fit it."""
    for (
        parameter
    ) in network.parameters():  # the layout must not depend on what was done with the network before
        parameter.data = parameter.detach().clone(memory_format=torch.contiguous_format)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise SpokeshaveError(
            f"{run.path / file} belongs to another network than the recipe's: {reason}"
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser (momentum, step counts) by parameter index and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    document = optimizer.state_dict()
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        document["state"].setdefault(int(index), {})[key] = _laid_out_like(parameters[int(index)], tensor)
    optimizer.load_state_dict(document)


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    same = tensor.shape == parameter.shape
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor) if same else tensor.clone()
