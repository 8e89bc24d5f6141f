"""Where the weights of one expert lie on disk: fused with the others', or in tensors of its own."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from spokeshave.streaming.checkpoint import Checkpoint
from spokeshave.streaming.tensor_file import TensorWriter


@dataclass(frozen=True)
class Place:
    """A matrix on disk: rows of a tensor, fused ones being seen as `[experts * rows, columns]`."""

    tensor: str
    first: int
    count: int

    def read(self, checkpoint: Checkpoint) -> Tensor:
        """The matrix as float32."""
        return checkpoint.rows(self.tensor, self.first, self.count)

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
    """Find a layer's mixture in either form; raises SpokeshaveError for tensors missing or of another shape."""
    prefix = f"model.layers.{layer}.mlp"
    if f"{prefix}.experts.gate_up_proj" in checkpoint.files:
        experts = _fused(checkpoint, f"{prefix}.experts")
    else:
        prefix = f"model.layers.{layer}.block_sparse_moe"
        experts = _separate(checkpoint, f"{prefix}.experts")
    checkpoint.check_shape(f"{prefix}.gate.weight", (len(experts), checkpoint.config.hidden_size))
    return LayerPlaces(f"{prefix}.gate.weight", experts)


def _fused(checkpoint: Checkpoint, prefix: str) -> tuple[ExpertPlaces, ...]:
    """As transformers 5 has them: `gate_up_proj` `[experts, 2 * intermediate, hidden]`, and `down_proj`."""
    experts, hidden, intermediate = _sizes(checkpoint)
    both, down = f"{prefix}.gate_up_proj", f"{prefix}.down_proj"
    checkpoint.check_shape(both, (experts, 2 * intermediate, hidden))
    checkpoint.check_shape(down, (experts, hidden, intermediate))
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
            checkpoint.check_shape(name, shape)
        places = [Place(name, 0, shape[0]) for name, shape in zip(names, shapes, strict=True)]
        found.append(ExpertPlaces(*places))
    return tuple(found)


def _sizes(checkpoint: Checkpoint) -> tuple[int, int, int]:
    config = checkpoint.config
    return config.num_local_experts, config.hidden_size, config.intermediate_size
