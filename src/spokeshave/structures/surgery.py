"""Slices taken out of a network's tensors, or set to zero."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from spokeshave.export import evaluating
from spokeshave.structures.labels import Axes, Labels
from spokeshave.structures.links import Links, tensors_of
from spokeshave.structures.operators import Heads

GATES = {"LSTM": 4, "GRU": 3}  # rows of a recurrent layer's matrices for each unit


@torch.no_grad()
def masked(network: nn.Module, links: Links, removed: Collection[int]) -> nn.Module:
    """A copy of the network in which the parameters' slices of the removed roots are zero."""
    copy = deepcopy(network)
    parameters = dict(copy.named_parameters(remove_duplicate=False))
    for name, axes in links.tensors.items():
        for dim, kept in enumerate(_kept(axes, links.labels, removed)):
            if kept is not None and name in parameters:
                gone = torch.ones(len(axes[dim] or ()), dtype=torch.bool)
                gone[kept] = False
                parameters[name].index_fill_(dim, gone.nonzero().flatten().to(parameters[name].device), 0)
    return copy


@torch.no_grad()
def shrunk(network: nn.Module, links: Links, removed: Collection[int]) -> nn.Module:
    """A copy of the network without the slices of the removed roots; its modules know their new sizes."""
    copy = deepcopy(network)
    known = tensors_of(copy)
    smaller: dict[int, Tensor] = {}
    for name, axes in links.tensors.items():
        kept = _kept(axes, links.labels, removed)
        if any(places is not None for places in kept):
            smaller.setdefault(id(known[name]), _sliced(known[name], kept))
    for module in copy.modules():
        stores: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for store in stores:
            for name, tensor in store.items():
                if tensor is not None and id(tensor) in smaller:
                    store[name] = smaller[id(tensor)]
    with evaluating(copy):  # weights that parametrizations make are read, which some count in training
        for module in copy.modules():
            _tell_sizes(module)
    for heads in {heads.module: heads for heads in links.heads}.values():
        left = sum(links.labels.root(label) not in removed for label in heads.axis)
        if left != len(heads.axis):
            _tell_heads(copy.get_submodule(heads.module), heads, left)
    return copy


def _kept(axes: Axes, labels: Labels, removed: Collection[int]) -> list[list[int] | None]:
    """By axis: the places that stay, None where all do."""
    found: list[list[int] | None] = []
    for axis in axes:
        places = [place for place, label in enumerate(axis or ()) if labels.root(label) not in removed]
        found.append(places if len(places) < len(axis or ()) else None)
    return found


def _sliced(tensor: Tensor, kept: list[list[int] | None]) -> Tensor:
    values = tensor.detach()
    for dim, places in enumerate(kept):
        if places is not None:
            values = values.index_select(dim, torch.tensor(places, device=values.device))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values.contiguous(), tensor.requires_grad)
    return values.contiguous()


def _tell_sizes(module: nn.Module) -> None:
    """What PyTorch's own modules say about the shapes of their weights."""
    if isinstance(module, _ConvNd) and not module.transposed:  # transposed ones are never cut
        rows, columns = module.weight.shape[:2]
        if rows != module.out_channels and module.groups > 1:  # only depthwise ones are ever cut
            module.groups = rows
        module.out_channels, module.in_channels = rows, columns * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm) and module.running_mean is not None:
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.GroupNorm) and module.affine:
        module.num_groups = module.num_groups * len(module.weight) // module.num_channels
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.RNNBase):
        rows, columns = module.get_parameter("weight_ih_l0").shape
        module.input_size, module.hidden_size = columns, rows // GATES.get(module.mode, 1)
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
    elif type(module).__name__ == "Conv1D" and isinstance(
        module.weight, Tensor
    ):  # transformers' transposed one
        for name, size in zip(("nx", "nf"), module.weight.shape, strict=True):
            setattr(module, name, size)


def _tell_heads(module: nn.Module, heads: Heads, left: int) -> None:
    """Attention modules remember the number of heads, and of all their features, under names of their own."""
    before = len(heads.axis)
    for name, value in list(vars(module).items()):
        if type(value) is int and "heads" in name and value == before:
            setattr(module, name, left)
        elif type(value) is int and value == before * heads.features and ("head" in name or "attn" in name):
            setattr(module, name, left * heads.features)
