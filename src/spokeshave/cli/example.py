"""One sample of a network's inputs, for the verbs that need no data."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from torch import Tensor

Shape = Annotated[
    str | None,
    typer.Option(help="Shape of one sample, such as 3x224x224; several inputs with commas between."),
]
DataName = Annotated[str | None, typer.Option("--data", help="Take the sample from this data instead.")]


def find_example(reference: str, network: Any, shape: str | None, data: str | None) -> "tuple[Tensor, ...]":
    """One sample: of the given shape or data, of the program's own shape, or of a built-in network's data.

    Raises SpokeshaveError when none of them is known.
    """
    from torch.export import ExportedProgram

    from spokeshave.data import DATA

    if shape is not None:
        return _random(parse_shapes(shape))
    if data is None and isinstance(network, ExportedProgram):
        return _random(_program_shapes(network))
    family = reference.partition("-")[0]
    if data is None and family not in DATA:
        raise SpokeshaveError(f"say what {reference} takes: --shape 3x224x224 (one sample) or --data NAME")
    return _from_data(data or family)


def parse_shapes(text: str) -> list[tuple[int, ...]]:
    """
    >>> parse_shapes("3x32x32"), parse_shapes("16,8x4")
    ([(3, 32, 32)], [(16,), (8, 4)])
    """
    try:
        shapes = [tuple(int(size) for size in part.split("x")) for part in text.split(",")]
    except ValueError as error:
        raise SpokeshaveError(
            f"--shape {text} is no shape; write sizes with x between, such as 3x32x32"
        ) from error
    if any(size < 1 for shape in shapes for size in shape):
        raise SpokeshaveError(f"--shape {text} holds a size below 1")
    return shapes


def _random(shapes: list[tuple[int, ...]]) -> "tuple[Tensor, ...]":
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, *shape, generator=generator) for shape in shapes)


def _program_shapes(program: Any) -> list[tuple[int, ...]]:
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    return [tuple(int(size) for size in value.shape[1:]) for value in values]


def _from_data(name: str) -> "tuple[Tensor, ...]":
    from spokeshave.fit.inputs import first_batch
    from spokeshave.references import resolve_data

    inputs, _ = first_batch(resolve_data(name).held_out, f"the held-out data of {name}")
    return (inputs[:1],)
