"""`spokeshave prune-experts`: a mixture of experts from one checkpoint folder to another."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.cli.counted import counted
from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from torch import Tensor

    from spokeshave.schemes.n_of_m import NOfM
    from spokeshave.schemes.unstructured import Unstructured

EXAMPLE = (
    "Example: spokeshave prune-experts Mixtral-8x7B-v0.1 --output pruned --data calibration.txt --scheme 2:4\n\n"
    "After an interruption the same command goes on behind the last whole layer."
)


def prune_experts(
    checkpoint: Annotated[Path, typer.Argument(help="A folder of Mixtral's architecture, in safetensors.")],
    output: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Calibration: a text file, or token numbers as .npy or .safetensors."),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="The share of every row to remove, or N:M such as 2:4 and 4:8.")
    ] = "0.5",
    criterion: Annotated[str, typer.Option(help="moe_pruner, wanda, magnitude or random.")] = "moe_pruner",
    sequences: Annotated[int, typer.Option(min=1, help="Calibration sequences, spread over the data.")] = 128,
    length: Annotated[int, typer.Option(min=1, help="Tokens of a sequence.")] = 2048,
    token_floor: Annotated[
        int, typer.Option(min=0, help="Experts with fewer tokens are pruned by their weights alone.")
    ] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the criterion random.")] = 0,
    json: Json = False,
) -> None:
    """Prune the experts of a Mixtral checkpoint, one expert in memory at a time."""
    from spokeshave.streaming import ExpertPruning, prune_experts

    settings = ExpertPruning(_scheme(scheme), criterion, token_floor, seed)
    if data is not None and not settings.needs_tokens:
        raise SpokeshaveError(f"--data {data} would not be looked at: {criterion} goes by the weights alone")
    tokens = None if data is None else _tokens(data, checkpoint, length, sequences)
    with counted("pruning experts") as progress:
        report = prune_experts(checkpoint, output, settings, tokens, progress)
    if json:
        print_json(report)
        return
    for line in _lines(output, report):
        console().print(line, markup=False)


def _scheme(text: str) -> "Unstructured | NOfM":
    from spokeshave.schemes.n_of_m import NOfM
    from spokeshave.schemes.unstructured import Unstructured

    pattern = re.fullmatch(r"(\d+):(\d+)", text)
    if pattern:
        return NOfM(int(pattern[1]), int(pattern[2]))
    try:
        return Unstructured(float(text))
    except ValueError as error:
        raise SpokeshaveError(
            f"--scheme {text} is neither a share such as 0.5 nor N:M such as 2:4"
        ) from error


def _tokens(data: Path, checkpoint: Path, length: int, sequences: int) -> "Tensor":
    from spokeshave.cli.arrays import read_arrays
    from spokeshave.streaming import sequences_of, tokenized

    if data.suffix in (".npy", ".safetensors"):
        arrays = read_arrays(data)
        if len(arrays) != 1:
            raise SpokeshaveError(f"{data} holds {len(arrays)} arrays; one of token numbers is needed")
        return sequences_of(next(iter(arrays.values())).flatten(), length, sequences)
    try:
        text = data.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpokeshaveError(f"{data} cannot be read as text: {error}") from error
    return sequences_of(tokenized(text, checkpoint), length, sequences)


def _lines(output: Path, report: dict[str, Any]) -> list[str]:
    from spokeshave.report import figures

    layers = len(report["layers"])
    lines = [
        f"{output}: {figures.percent(report['density'], 1)} of the experts' weights kept in {layers} layers, "
        f"{figures.seconds(report['seconds'] / layers)} a layer, "
        f"at most {figures.count(report['peak_resident_bytes'])}B of memory"
    ]
    if report["below_token_floor"]:
        lines.append(f"  {report['below_token_floor']} experts saw too few tokens: pruned by weights alone")
    return lines
