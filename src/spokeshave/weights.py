"""The weights of a network that a plan can name."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from spokeshave.errors import SpokeshaveError

EXPERTS = "experts"  # the module that holds the matrices of a mixture, as networks of transformers call it


@dataclass(frozen=True)
class Weight:
    """A parameter with two axes or more.

    `names`: every name it goes by (a tied weight has several), the one of `named_parameters()` first.
    `wanted`: whether a pattern with wildcards means it; tables and tokens are meant by their exact name only.
    `stacked`: whether it is a stack of matrices, as the fused experts of a mixture are.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    wanted: bool
    stacked: bool = False

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of its matrix, or of every matrix of the stack."""
        return self.shape[-2 if self.stacked else 0], prod(self.shape[2 if self.stacked else 1 :])

    @property
    def parameter(self) -> str:
        """Its name in `named_parameters()`."""
        return self.names[0]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules that hold it."""
        return tuple(layer_of(name) for name in self.names)


def weights_of(network: nn.Module | ExportedProgram) -> tuple[Weight, ...]:
    """All weights with two axes or more, in the order of the network's parameters.

    >>> [weight.parameter for weight in weights_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GRU(2, 4)))]
    ['0.weight', '1.weight_ih_l0', '1.weight_hh_l0']
    """
    if not isinstance(network, ExportedProgram):
        check_network("a plan", network)
    names: dict[int, list[str]] = {}
    tensors = {}
    for name, tensor in _parameters(network):
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    tables = _embeddings(network)
    return tuple(
        Weight(
            tuple(names[key]),
            tuple(tensor.shape),
            _is_wanted(names[key], tables),
            _is_stacked(names[key], tensor),
        )
        for key, tensor in tensors.items()
        if tensor.dim() > 1
    )


def parametrized_weights(network: nn.Module) -> tuple[Weight, ...]:
    """What parametrizations, such as weight norms, make of other parameters: weights, but none that a plan can mean.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 4))
    >>> [weight.parameter for weight in parametrized_weights(nn.Sequential(layer))]
    ['0.weight']
    """
    tables, found = _embeddings(network), []
    for layer, module in network.named_modules():
        for attribute in module.parametrizations if is_parametrized(module) else ():
            name, shape = f"{layer}.{attribute}".lstrip("."), tuple(getattr(module, attribute).shape)
            if len(shape) > 1 and _is_wanted([name], tables):
                found.append(Weight((name,), shape, wanted=True))
    return tuple(found)


def check_network(owner: str, network: object) -> None:
    """Raise SpokeshaveError unless this is a network; `owner` is what needs one.

    >>> check_network("Distillation", None)
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: Distillation needs a network, a torch.nn.Module, not None
    """
    if not isinstance(network, nn.Module):
        found = "None" if network is None else f"a {type(network).__name__}"
        raise SpokeshaveError(f"{owner} needs a network, a torch.nn.Module, not {found}")
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            raise SpokeshaveError(
                f"{owner}: {name} has no values yet, as its layer is lazy; let the network see a batch first"
            )


def layer_of(parameter: str) -> str:
    """The module that holds a parameter.

    >>> layer_of("encoder.0.weight")
    'encoder.0'
    """
    return parameter.rpartition(".")[0]


def _parameters(network: nn.Module | ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(network, ExportedProgram):
        return network.named_parameters()
    return network.named_parameters(remove_duplicate=False)


def _is_wanted(names: list[str], embeddings: set[str]) -> bool:
    meant = any("weight" in name.rpartition(".")[2] or EXPERTS in name.split(".") for name in names)
    return meant and not embeddings.intersection(names)


def _is_stacked(names: list[str], tensor: torch.Tensor) -> bool:
    """Three axes and no layer's weight: those of convolutions over sequences are called so."""
    return tensor.dim() == 3 and not any("weight" in name for name in names)


def _embeddings(network: nn.Module | ExportedProgram) -> set[str]:
    """Parameter names of embedding tables."""
    if isinstance(network, nn.Module):
        tables = (nn.Embedding, nn.EmbeddingBag)
        return {
            f"{name}.weight".lstrip(".")
            for name, module in network.named_modules()
            if isinstance(module, tables)
        }
    lookups = (torch.ops.aten.embedding.default, torch.ops.aten.embedding_bag.padding_idx)
    read = {node.args[0].name for node in network.graph.nodes if node.target in lookups}
    parameters = network.graph_signature.inputs_to_parameters
    return {name for placeholder, name in parameters.items() if placeholder in read}
