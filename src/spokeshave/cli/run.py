"""`spokeshave run`: a saved deployment on arrays."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.cli.output import Json, check_output_file, console, print_json
from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLE = "Example: spokeshave run runs/demo/deployment images.npy --output logits.npy"


def run(
    deployment: Annotated[Path, typer.Argument(help="A saved deployment.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="A .npy file for each input, or one .safetensors file.")
    ],
    output: Annotated[Path, typer.Option(help="The .npy or .safetensors file to write.")],
    json: Json = False,
) -> None:
    """Run a saved deployment on a batch and write what it returns."""
    from spokeshave.cli.arrays import SUFFIXES, read_arrays, write_arrays
    from spokeshave.devices.saved import load_saved

    check_output_file(output, SUFFIXES)
    network = load_saved(deployment)
    arrays = [named for path in inputs for named in read_arrays(path).items()]
    outputs = name_outputs(
        network(*order_inputs(arrays, [record.name for record in network.manifest.inputs]))
    )
    write_arrays(output, outputs)
    shapes = {name: list(tensor.shape) for name, tensor in outputs.items()}
    if json:
        print_json({"output": str(output), "shapes": shapes})
        return
    console().print(f"{output}: " + ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items()))


def order_inputs(arrays: "list[tuple[str, Tensor]]", names: list[str]) -> "list[Tensor]":
    """The arrays in the order of the network's inputs: by name where all are known, else as given.

    Two files may have the same name, in folders of their own.
    """
    if len(arrays) != len(names):
        raise SpokeshaveError(
            f"the deployment takes {len(names)} inputs ({', '.join(names)}), {len(arrays)} were given"
        )
    named = dict(arrays)
    return [named[name] for name in names] if set(named) == set(names) else [tensor for _, tensor in arrays]


def name_outputs(outputs: Any) -> "dict[str, Tensor]":
    """The outputs by name: `output` for a lone tensor, `output.logits` or `output.0` inside a structure."""
    from torch.utils._pytree import tree_flatten_with_path

    named = {}
    for path, tensor in tree_flatten_with_path(outputs)[0]:
        parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        named[".".join(["output", *parts])] = tensor
    return named
