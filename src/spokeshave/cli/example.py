"""One sample of a network's inputs, for the verbs that need no data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from spokeshave.compiler.manifest import ValueRecord

DTYPES = ("float32", "int64", "int32", "bool")


def find_example(reference: str, network: Any, shape: str | None, data: str | None) -> "tuple[Tensor, ...]":
    """One sample: of the given shape or data, of the program's own shape, or of a built-in network's data.

    Raises SpokeshaveError when none of them is known.
    """
    from torch.export import ExportedProgram

    from spokeshave.data import DATA
    from spokeshave.networks import SAMPLE_SHAPES

    if shape is not None and data is not None:
        raise SpokeshaveError("--shape and --data both say what a sample is; give one of them")
    if shape is not None:
        return _random(parse_shapes(shape))
    if data is None and isinstance(network, ExportedProgram):
        return _random(_program_shapes(network))
    if data is None and reference in SAMPLE_SHAPES:
        return _random([InputShape(SAMPLE_SHAPES[reference])])
    family = reference.partition("-")[0]
    if data is None and family not in DATA:
        raise SpokeshaveError(f"say what {reference} takes: --shape 3x224x224 (one sample) or --data NAME")
    return _from_data(data or family)


def sample_for(inputs: "Sequence[ValueRecord]", data: str | None) -> "tuple[Tensor, ...]":
    """One sample for a deployment: of the given data, or of normal numbers."""
    if data is not None:
        return _from_data(data)
    return _random([InputShape(tuple(record.shape[1:]), record.dtype) for record in inputs])


def check_takes(reference: str, network: Any, example: "tuple[Tensor, ...]") -> None:
    """Raise SpokeshaveError when the network fails on an example of another element type than it takes.

    Exporting does not see every such mistake. Numbers need no check: networks that take only integers fail there.
    """
    import torch
    from torch import nn

    if not isinstance(network, nn.Module) or all(x.is_floating_point() for x in example):
        return
    training = {module: module.training for module in network.modules()}
    try:
        with torch.inference_mode():
            network.eval()(*example)
    except Exception as error:  # whatever the user's network raises
        reason = " ".join(str(error).split()).rstrip(".")
        types = ", ".join(str(x.dtype).removeprefix("torch.") for x in example)
        raise SpokeshaveError(f"{reference} cannot take inputs of type {types}: {reason}") from error
    finally:
        for module, was in training.items():
            module.training = was


@dataclass(frozen=True)
class InputShape:
    """Shape of one sample of an input, without its batch axis, and its element type."""

    sizes: tuple[int, ...]
    dtype: str = "float32"


def parse_shapes(text: str) -> list[InputShape]:
    """
    >>> parse_shapes("3x32x32")
    [InputShape(sizes=(3, 32, 32), dtype='float32')]
    >>> [(shape.sizes, shape.dtype) for shape in parse_shapes("16:int64,8x4")]
    [((16,), 'int64'), ((8, 4), 'float32')]
    """
    return [_parse_shape(part) for part in text.split(",")]


def _parse_shape(text: str) -> InputShape:
    sizes, _, dtype = text.partition(":")
    try:
        shape = InputShape(tuple(int(size) for size in sizes.split("x")), dtype or "float32")
    except ValueError as error:
        raise SpokeshaveError(
            f"--shape {text} is no shape; write sizes with x between, such as 3x32x32"
        ) from error
    if any(size < 1 for size in shape.sizes):
        raise SpokeshaveError(f"--shape {text} holds a size below 1")
    if shape.dtype not in DTYPES:
        raise SpokeshaveError(f"--shape {text}: {dtype!r} is no element type; {', '.join(DTYPES)} are known")
    return shape


def _random(shapes: list[InputShape]) -> "tuple[Tensor, ...]":
    """Normal numbers; integers are 0 or 1, which token ids, token types and masks all allow."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def one(shape: InputShape) -> "Tensor":
        if shape.dtype == "float32":
            return torch.randn(1, *shape.sizes, generator=generator)
        return torch.randint(0, 2, (1, *shape.sizes), generator=generator).to(getattr(torch, shape.dtype))

    return tuple(one(shape) for shape in shapes)


def _program_shapes(program: Any) -> list[InputShape]:
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    return [
        InputShape(tuple(int(size) for size in value.shape[1:]), str(value.dtype).removeprefix("torch."))
        for value in values
    ]


def _from_data(name: str) -> "tuple[Tensor, ...]":
    from spokeshave.fit.inputs import first_batch
    from spokeshave.references import resolve_data

    inputs, _ = first_batch(resolve_data(name).held_out, f"the held-out data of {name}")
    return (inputs[:1],)
