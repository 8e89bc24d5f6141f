"""A layer of a deployment as a folder: the engine in Verilog, a testbench, what it reads and what must come out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from string import Template

from torch import Tensor

from spokeshave.compiler.folder import write_folder
from spokeshave.compiler.graph import Node
from spokeshave.compiler.integers import IntegerDeployment
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.native import check_inputs
from spokeshave.compiler.operations import Quantized, WholeRecurrent
from spokeshave.compiler.quantization.executor import run_quantized
from spokeshave.devices.fpga.cycles import count
from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.schedule import jobs
from spokeshave.devices.fpga.verilog.engine_run import engine_bench, write_load
from spokeshave.devices.fpga.verilog.layer import numbers_of, reason_against
from spokeshave.devices.fpga.verilog.module import modules_of
from spokeshave.devices.fpga.verilog.product import check_numbers, in_order, load_of
from spokeshave.devices.fpga.verilog.simulation import write_modules
from spokeshave.errors import SpokeshaveError

KIND, RECORD, EXPECTED = "layer in Verilog", "verilog.json", "expected.hex"


@dataclass(frozen=True)
class Written:
    """The layer of a folder, how many modules stand there, and the cycles that the model counts."""

    layer: str
    modules: int
    modelled_cycles: int


def layers_for(deployment: IntegerDeployment) -> dict[str, str | None]:
    """The layers of a deployment that have sums, and why the engine cannot compute one, or None."""
    return {
        node.layer: reason_against(node.operation)
        for node in deployment.graph.nodes
        if isinstance(node.operation, Quantized)
    }


def write_verilog(
    deployment: IntegerDeployment, layer: str, engine: Engine, sample: Sequence[Tensor], folder: Path | str
) -> Written:
    """Write a layer, on what it reads for a sample `[1, ...]`, to a folder, which must be new, empty or such a one.

    Raises SpokeshaveError for layers that do not exist or that the engine cannot compute.
    """
    node, known = node_of(deployment, layer), layers_for(deployment)
    if known[layer] is not None:
        able = ", ".join(name for name, reason in known.items() if reason is None) or "none"
        raise SpokeshaveError(f"the engine cannot compute {layer}: {known[layer]}; it can compute: {able}")
    assert isinstance(node.operation, Quantized)
    check_inputs(tuple(sample), deployment.manifest.inputs)
    read = batch_values(deployment.graph, sample)[node.inputs[0]]
    numbers = numbers_of(engine, node.operation, deployment.graph.weights, read)
    check_numbers(engine, numbers)
    made = run_quantized(node.operation, deployment.graph.weights, read)
    levels = made[0].flatten(1) if made.dim() == 4 else made.reshape(-1, made.shape[-1]).T
    bench = engine_bench(engine, numbers.low, numbers.high, numbers.zero_point)
    modelled = count(engine, jobs(engine, numbers.product)).total

    def write(whole: Path) -> None:
        files = write_modules(bench, whole)
        write_load(whole, load_of(engine, numbers))
        words = in_order(engine, numbers, levels.long())
        (whole / EXPECTED).write_text("".join(f"{word}\n" for word in words))
        values = {"layer": layer, "files": " ".join(files), "cycles": modelled}
        values |= {"engine_files": " ".join(file for file in files if file != f"{bench.name}.v")}
        (whole / "README.md").write_text(readme("README.md", values))
        record = {"layer": layer, "engine": asdict(engine), "modelled_cycles": modelled}
        (whole / RECORD).write_text(json.dumps(record, indent=1) + "\n")

    write_folder(Path(folder), KIND, RECORD, write)
    return Written(layer, len(modules_of(bench)), modelled)


def node_of(deployment: IntegerDeployment, layer: str) -> Node:
    """The node of a layer that has sums; raises SpokeshaveError where there is none."""
    found = {node.layer: node for node in deployment.graph.nodes if isinstance(node.operation, Quantized)}
    if layer not in found:
        recurrent = {
            node.layer for node in deployment.graph.nodes if isinstance(node.operation, WholeRecurrent)
        }
        if layer in recurrent:
            others = ", ".join(found) or "none"
            raise SpokeshaveError(
                f"{layer} is recurrent, and such layers have no Verilog; those that have: {others}"
            )
        raise SpokeshaveError(f"the deployment has no layer {layer!r} with sums; it has {', '.join(found)}")
    return found[layer]


def readme(name: str, values: Mapping[str, object]) -> str:
    """What a folder says of itself."""
    text = resources.files(__package__).joinpath("templates", name).read_text()
    return Template(text).substitute(values)
