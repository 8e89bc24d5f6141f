"""What of a network's weights stays or goes together, read from its exported program."""

from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec

from spokeshave.export import export_network
from spokeshave.nesting import lie_in_caches
from spokeshave.structures.labels import Axes, Axis, Labels
from spokeshave.structures.operators import Heads, Values, propagate

OUTPUT = "its outputs are the network's outputs"
CACHED = (
    "its outputs are the network's outputs, as keys or values of a cache; a network that gives none "
    "(use_cache=False in its config) can lose them"
)

PARAMETRIZED = (
    "a parametrization makes its weight, or that of a layer that goes with it; "
    "torch.nn.utils.parametrize.remove_parametrizations leaves a weight that can be cut"
)


@dataclass(frozen=True)
class Links:
    """`tensors`: labels of each axis of every parameter and buffer that is used; `outputs`: those of what a layer
    makes, by the first name of its weight; `heads`: where modules cut channels into heads.
    """

    labels: Labels
    tensors: dict[str, Axes]
    outputs: dict[str, Axis]
    heads: tuple[Heads, ...]


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by all names that they go by."""
    buffers = dict(network.named_buffers(remove_duplicate=False))
    return {**buffers, **dict(network.named_parameters(remove_duplicate=False))}


def links_of(network: nn.Module, example: Tensor | tuple[Tensor, ...]) -> Links:
    """Follow every slice of every weight through the network.

    Sound, not complete: what an operator without a rule reads, stays. Raises SpokeshaveError when the network cannot be
    exported.
    """
    program = export_network(network, example)
    signature, known = program.graph_signature, tensors_of(network)
    first_names = {id(tensor): name for name, tensor in reversed(known.items())}  # of tied weights
    inputs = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    names = {place: first_names[id(known[name])] for place, name in inputs.items()}
    values = Values(Labels())
    tensors: dict[str, Axes] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            name = names[node.name]
            if name not in tensors:
                tensors[name] = tuple(values.labels.fresh(size) for size in known[name].shape)
                if "parametrizations" in name.split("."):
                    values.labels.keep(tensors[name], PARAMETRIZED)
            values.axes[node] = tensors[name]
        elif node.op in ("placeholder", "get_attr"):
            values.axes[node] = values.fixed(node, "")
        elif node.op == "output":
            _keep_outputs(values, node, program.call_spec.out_spec)
        else:
            values.axes[node] = propagate(values, node)
    outputs = {names[place]: axis for place, axis in values.produced.items() if place in names}
    return Links(values.labels, tensors, outputs, tuple(values.heads))


def _keep_outputs(values: Values, node: fx.Node, nesting: TreeSpec | None) -> None:
    """Nothing that the network gives may shrink; of what it gives as a cache, the reason says so."""
    cached: list[fx.Node] = []
    if nesting is not None and isinstance(node.args[0], list | tuple):
        leaves = zip(reversed(node.args[0]), reversed(lie_in_caches(nesting)), strict=False)
        cached = [one for one, in_cache in leaves if in_cache and isinstance(one, fx.Node)]
    for one in cached:
        values.keep(one, CACHED)
    values.fixed(node, OUTPUT)
