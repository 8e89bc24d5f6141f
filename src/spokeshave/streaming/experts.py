"""Where the weights of one expert lie on disk: fused with the others', or in tensors of its own."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.streaming.checkpoint import CONFIG, Checkpoint
from spokeshave.streaming.tensor_file import TensorWriter


@dataclass(frozen=True)
class Place:
    """A matrix on disk: rows of a tensor, fused ones being seen as `[experts * rows, columns]`."""

    tensor: str
    first: int
    count: int

    def read(self, checkpoint: Checkpoint) -> Tensor:
        """The matrix as float32; raises SpokeshaveError where it is zero, as in files that were not written whole."""
        found = checkpoint.rows(self.tensor, self.first, self.count)
        if not found.any():
            raise SpokeshaveError(
                f"{checkpoint.files[self.tensor].path}: {self.tensor} holds zeros alone in rows {self.first} to "
                f"{self.first + self.count - 1}, a whole matrix, as a file does that was not written to its end"
            )
        return found

    def write(self, writer: TensorWriter, matrix: Tensor) -> None:
        """Put the matrix into the same tensor of a new file."""
        writer.put_rows(self.tensor, self.first, matrix)


class ExpertPlaces(NamedTuple):
    """The three matrices of a SwiGLU expert: `down (act(gate x) * (up x))`; w1, w3 and w2 of older checkpoints."""

    gate: Place
    up: Place
    down: Place


@dataclass(frozen=True)
class LayerPlaces:
    """The mixture of one decoder layer: the router's tensor, and every expert's matrices."""

    router: str
    experts: tuple[ExpertPlaces, ...]

    @property
    def tensors(self) -> frozenset[str]:
        """Names of the tensors that hold experts."""
        return frozenset(place.tensor for expert in self.experts for place in expert)


def layer_places(checkpoint: Checkpoint, layer: int) -> LayerPlaces:
    """Find a layer's mixture in either form; raises SpokeshaveError for tensors missing, left over or ill-shaped."""
    fused, separate = (f"model.layers.{layer}.{form}" for form in ("mlp", "block_sparse_moe"))
    if f"{fused}.experts.gate_up_proj" in checkpoint.files:
        prefix, experts = fused, _fused(checkpoint, f"{fused}.experts")
    else:
        prefix, experts = separate, _separate(checkpoint, f"{separate}.experts")
    places = LayerPlaces(f"{prefix}.gate.weight", experts)
    checkpoint.check(places.router, (len(experts), checkpoint.config.hidden_size))
    found = checkpoint.names(f"{fused}.") | checkpoint.names(f"{separate}.")
    for name in sorted(found - places.tensors - {places.router}):
        raise SpokeshaveError(
            f"{checkpoint.files[name].path} holds {name} beside {min(places.tensors)}: experts must be in one form, "
            f"fused (mlp.experts.gate_up_proj) or apart (block_sparse_moe.experts.0.w1), as many as {CONFIG} says"
        )
    return places


def _fused(checkpoint: Checkpoint, prefix: str) -> tuple[ExpertPlaces, ...]:
    """As transformers 5 has them: `gate_up_proj` `[experts, 2 * intermediate, hidden]`, and `down_proj`."""
    experts, hidden, intermediate = _sizes(checkpoint)
    both, down = f"{prefix}.gate_up_proj", f"{prefix}.down_proj"
    checkpoint.check(both, (experts, 2 * intermediate, hidden))
    checkpoint.check(down, (experts, hidden, intermediate))
    return tuple(
        ExpertPlaces(
            Place(both, 2 * number * intermediate, intermediate),
            Place(both, (2 * number + 1) * intermediate, intermediate),
            Place(down, number * hidden, hidden),
        )
        for number in range(experts)
    )


def _separate(checkpoint: Checkpoint, prefix: str) -> tuple[ExpertPlaces, ...]:
    """Mixtral as published: `w1`, `w3` `[intermediate, hidden]` and `w2` `[hidden, intermediate]` of each expert."""
    experts, hidden, intermediate = _sizes(checkpoint)
    found = []
    for number in range(experts):
        names = [f"{prefix}.{number}.{matrix}.weight" for matrix in ("w1", "w3", "w2")]
        shapes = [(intermediate, hidden), (intermediate, hidden), (hidden, intermediate)]
        for name, shape in zip(names, shapes, strict=True):
            checkpoint.check(name, shape)
        places = [Place(name, 0, shape[0]) for name, shape in zip(names, shapes, strict=True)]
        found.append(ExpertPlaces(*places))
    return tuple(found)


def _sizes(checkpoint: Checkpoint) -> tuple[int, int, int]:
    config = checkpoint.config
    return config.num_local_experts, config.hidden_size, config.intermediate_size
