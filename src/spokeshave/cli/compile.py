"""`spokeshave compile`: a network as native code, or as plain C, in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.cli.arguments import DataName, NetworkName, PlanFile, Shape, load_plan
from spokeshave.cli.counted import counted
from spokeshave.cli.example import check_takes, find_example
from spokeshave.cli.lengths import Lengths, parse_lengths
from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from torch import Tensor

    from spokeshave.compiler.generated import Generated

MOST_ERROR = 1e-3  # relative to the largest output
EXAMPLE = "Example: spokeshave compile my_networks.py:make_network --shape 3x32x32 --output deployed"


def compile(
    network: NetworkName,
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    plan: PlanFile = None,
    shape: Shape = None,
    data: DataName = None,
    dynamic: Lengths = None,
    isa: Annotated[str | None, typer.Option(help="Another instruction set than this CPU's best.")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Time the kernels' schedules on this machine and keep the fastest.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to tune for; 1 unless given.")] = None,
    precision: Annotated[
        str,
        typer.Option(help="float32, bfloat16, or int8 where that costs little accuracy."),
    ] = "float32",
    calibration: Annotated[
        str | None, typer.Option(help="Data whose training part shows int8 what values there are.")
    ] = None,
    emit_c: Annotated[
        bool, typer.Option("--emit-c", help="Write plain C for an application instead of a deployment.")
    ] = False,
    c_name: Annotated[
        str | None, typer.Option(help="How files and names of plain C begin; model unless given.")
    ] = None,
    embed_weights: Annotated[
        bool, typer.Option("--embed-weights", help="Plain C with the weights as an array, not a file.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Build plain C, run it (emulated for another CPU), compare with PyTorch."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Compile a network and save the deployment (manifest, C source, weights, library), or the network as plain C.

    For an instruction set of another kind of CPU the network is always written as plain C.
    """
    import platform

    from spokeshave.compiler import generate
    from spokeshave.compiler.artifact import check_artifact_folder, check_name, write_artifact
    from spokeshave.compiler.build import find_compiler
    from spokeshave.compiler.compile import generate_once, precision_settings
    from spokeshave.compiler.folder import check_output_folder
    from spokeshave.compiler.isa import instruction_set
    from spokeshave.compiler.tuner import Tuner
    from spokeshave.references import resolve_network

    as_c = emit_c or embed_weights or check or instruction_set(isa).machine not in ("", platform.machine())
    _check_used(as_c, c_name, calibration, precision, threads, tune)
    (check_artifact_folder if as_c else check_output_folder)(output)
    c_name = c_name or "model"
    check_name(c_name)
    lengths = parse_lengths(dynamic)
    settings = precision_settings(precision, _calibration_data(calibration))
    found = resolve_network(network)
    example = find_example(network, found, shape, data)
    check_takes(network, found, example)
    with counted("tuning") as progress:
        tuner = Tuner(instruction_set(isa), find_compiler(), threads or 1, progress) if tune else None
        asked = (found, example, load_plan(plan), isa, tuner, settings, lengths)
        generated, library = (generate(*asked), None) if as_c else generate_once(*asked)
    if library is None:
        write_artifact(generated, output, c_name, embed_weights)
        record, lines = _describe_c(generated, output, (found, example) if check else None)
    else:
        record, lines = _deploy(generated, library, output)
    if json:
        print_json(record)
        return
    for line in lines:
        console().print(line, markup=False)


def _calibration_data(name: str | None) -> Any:
    """Data to train on, in the same order every time, though that is random."""
    import torch

    from spokeshave.references import resolve_data

    torch.manual_seed(0)
    return resolve_data(name).train if name else None


def _check_used(
    as_c: bool, c_name: str | None, calibration: str | None, precision: str, threads: int | None, tune: bool
) -> None:
    """Raise SpokeshaveError for an option that would do nothing."""
    if c_name is not None and not as_c:
        raise SpokeshaveError(f"--c-name {c_name} names plain C; add --emit-c")
    if calibration is not None and precision != "int8":
        raise SpokeshaveError(f"--calibration {calibration} is for int8; add --precision int8")
    if threads is not None and not tune:
        raise SpokeshaveError(f"--threads {threads} is the number to tune for; add --tune")


def _describe_c(
    generated: "Generated", output: Path, check: tuple[Any, Any] | None
) -> tuple[dict[str, Any], list[str]]:
    """What was written, and how it compares with a network on an example, if these are given."""
    from spokeshave.compiler.isa import instruction_set
    from spokeshave.report import figures

    isa = instruction_set(generated.manifest.isa)
    size = generated.manifest.weight_bytes
    record = {"source": str(output), "isa": isa.name, "flags": list(isa.c_flags), "weight_bytes": size}
    lines = [f"{output}: plain C for {isa.name}, {figures.count(size)}B of weights; see README.md there"]
    if check:
        _check_c(generated, *check, record, lines)
    return record, lines


def _check_c(
    generated: "Generated",
    network: Any,
    example: "tuple[Tensor, ...]",
    record: dict[str, Any],
    lines: list[str],
) -> None:
    """Add to the record and the lines how far the C, built and run here, is from PyTorch."""
    from spokeshave.compiler.artifact import run_as_c
    from spokeshave.measure import relative_error
    from spokeshave.report import figures

    axes = generated.manifest.input_axes
    run = run_as_c(generated, [x.movedim(axis, 0) for x, axis in zip(example, axes, strict=True)])
    expected = _sample_by_sample(network, example, axes)
    pairs = zip(expected, run.outputs, strict=True)
    error = relative_error(run.outputs, [wanted.reshape(found.shape) for wanted, found in pairs])
    if not error <= MOST_ERROR:
        raise SpokeshaveError(
            f"plain C for {generated.manifest.isa} is {error:.1e} from PyTorch's results; please report this network"
        )
    record |= {"runner": run.runner, "max_relative_error": error}
    lines.append(f"  run by {run.runner}: {error:.1e} from PyTorch's results, relative to the largest")
    if run.timed:
        record["latency_seconds"] = run.milliseconds / 1e3
        lines.append(f"  {figures.seconds(run.milliseconds / 1e3)} a sample, measured, one thread")


def _sample_by_sample(network: Any, example: "tuple[Tensor, ...]", axes: tuple[int, ...]) -> "list[Tensor]":
    """The network's outputs with samples in front, wherever it puts its batch axis itself."""
    import torch
    from torch.utils._pytree import tree_leaves

    run = (
        network.eval() if hasattr(network, "eval") else network.module()
    )  # exported programs are evaluated as such
    with torch.inference_mode():
        cut = [x.split(1, axis) for x, axis in zip(example, axes, strict=True)]
        rows = [tree_leaves(run(*sample)) for sample in zip(*cut, strict=True)]
    columns = [[leaf for leaf in row if isinstance(leaf, torch.Tensor)] for row in rows]
    return [torch.stack(column) for column in zip(*columns, strict=True)]


def _deploy(generated: "Generated", library: Path, output: Path) -> tuple[dict[str, Any], list[str]]:
    """Save; time it where this CPU runs it."""
    from spokeshave.compiler import load_deployment
    from spokeshave.compiler.folder import save_deployment
    from spokeshave.compiler.isa import instruction_set, why_not_here
    from spokeshave.report import figures

    save_deployment(generated, library, output)
    manifest = generated.manifest
    reason = why_not_here(instruction_set(manifest.isa))
    seconds = load_deployment(output).cost.latency_seconds if reason is None else None
    latency = (
        f"{figures.seconds(seconds)} a sample, measured at one thread" if seconds else f"not run: {reason}"
    )
    foreign = [
        {"layer": stage.layer, "operator": stage.target, "reason": stage.reason}
        for stage in manifest.fallen_out
    ]
    kept = {layer.layer: layer.reason for layer in manifest.layers if layer.precision == "float32"}
    record = {
        "deployment": str(output),
        "isa": manifest.isa,
        "compiler": manifest.compiler,
        "latency_seconds": seconds,
        "weight_bytes": manifest.weight_bytes,
        "precision": manifest.precision,
        "kept_float32": kept,
        "run_by_pytorch": foreign,
    }
    lines = [f"{output}: {manifest.isa}, {latency}, {figures.count(manifest.weight_bytes)}B of weights"]
    lines.append(f"  built by {manifest.compiler}")
    lines += [f"  {e['layer']} ({e['operator']}) runs through PyTorch: {e['reason']}" for e in foreign]
    lines += [f"  {layer} stays float32: {reason}" for layer, reason in kept.items()]
    return record, lines
