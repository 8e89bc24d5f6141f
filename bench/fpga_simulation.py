"""The generated engine on layers of real networks: levels beside the executor's, cycles beside the model's.

    python -m bench.fpga_simulation [engines] [--simulator verilator] [--output FILE]
    python -m bench.fpga_simulation blocks [--simulator icarus]     the CSB engine and the token selector, a section

Weights are those of MobileNetV2 in int8, DeiT-tiny in 3 bits, ResNet-20 (in int8, and in rows of 4 bits and powers of
two) and a binary perceptron; inputs are what these layers read for an image, of the perceptron for all held-out digits.
What a layer of MobileNetV2 or DeiT-tiny gives is rescaled with one rounding, to 8 bits. Beside them stand products of
random numbers for each kind of lane; `vectors` counts, by kind, the sums that lanes made of either. Nothing of the
cycle model was fitted to these runs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.compiler.integers.deit_tiny import deit_graph
from tests.compiler.integers.mobilenet_v2 import Trace, first_sheet, whole_graph
from torch import Tensor

from bench.fpga_binary import PLAN, trained
from bench.fpga_blocks import block_rows, selection_rows
from bench.fpga_random import random_products
from bench.records import RESULTS, provenance, put
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.integers import IntegerDeployment, IntegerForm, whole_network
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.operations import Quantization, Quantized, Rescale
from spokeshave.compiler.quantization.executor import integer_sums, run_quantized
from spokeshave.data import DATA, cifar10
from spokeshave.devices import load_device
from spokeshave.devices.fpga.cycles import count
from spokeshave.devices.fpga.engine import CODE_BITS, Engine, Lanes
from spokeshave.devices.fpga.schedule import jobs
from spokeshave.devices.fpga.verilog.engine_run import SimulatedEngine, simulated_engine
from spokeshave.devices.fpga.verilog.layer import numbers_of, reason_against
from spokeshave.devices.fpga.verilog.product import NOBODY, Numbers, places
from spokeshave.devices.fpga.verilog.simulation import Simulator
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder
from spokeshave.measure import evaluate
from spokeshave.networks.cifar_resnet import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo

RANDOM = "random numbers"
SIZES: dict[str, Any] = {"columns": 16, "depth": 64, "positions": 64, "load_bytes": 32, "outputs": 8}
ENGINES = {
    "int8": Engine(Lanes(int8=16), **SIZES),
    "int8 by shifts": Engine(Lanes(int8=16), requantizer="shift", **SIZES),
    "int4": Engine(Lanes(int4=16), **SIZES),
    "mixed": Engine(Lanes(int8=2, int4=8, shift=8), signed=False, **SIZES),
    "binary": Engine(Lanes(binary=32), requantizer="shift", **SIZES),
}


@dataclass(frozen=True)
class Case:
    """A product of a network, the engine that runs it, and the levels `[rows, positions]` that must come."""

    network: str
    layer: str
    engine: str
    numbers: Numbers
    wanted: Tensor


@dataclass(frozen=True)
class Layer:
    """A layer of a network with what it read, and the engine that runs it."""

    network: str
    layer: str
    engine: str
    operation: Quantized
    weights: dict[str, Tensor]
    x: Tensor


def mobilenet(most_positions: int = 400) -> Iterator[Layer]:
    """Its convolutions of 1 x 1, for a picture of ImageNet, where maps are small enough for a quick run."""
    trace = Trace.read()
    graph = whole_graph(np.load(data_folder("mobilenet_v2_int8") / "mobilenet_v2_tf2_int8.npz"), trace)
    picture = first_sheet(data_folder("imagenet_sample") / "imagenet_sample_224.zip")[trace.images[0]]
    image = (picture[None].float() - 127) * trace.input.scale
    for case in _layers("MobileNetV2, int8", "int8", graph, image):
        rescale = case.operation.rescale
        grouped = getattr(case.operation.layer, "groups", 1) > 1
        if rescale is not None and not grouped and case.x.shape[-1] ** 2 <= most_positions:
            yield replace(case, operation=replace(case.operation, rescale=replace(rescale, rounding="once")))


def deit(blocks: tuple[int, ...] = (0, 6)) -> Iterator[Layer]:
    """Layers of two blocks, for the image of the authors' trace; sums are shifted until they fit 8 bits."""
    raw = np.load(data_folder("deit_tiny_w3a3") / "deit_tiny_w3a3.npz")
    graph = deit_graph(raw)
    for case in _layers("DeiT-tiny, 3 bits", "int4", graph, torch.from_numpy(raw["trace.input"])[None]):
        if case.layer.startswith(tuple(f"blocks.{block}." for block in blocks)):
            yield replace(case, operation=_to_bytes(case), weights=_with_shift(case))


def _to_bytes(case: Layer) -> Quantized:
    old = case.operation.rescale
    assert old is not None
    return replace(
        case.operation,
        output=Quantization(1.0, 0, -128, 127),
        rescale=Rescale(old.multiplier, "shift to bytes", old.bias),
    )


def _with_shift(case: Layer) -> dict[str, Tensor]:
    sums = integer_sums(case.operation, case.x, case.weights[case.operation.weight])
    shift = max(0, int(sums.abs().max()).bit_length() - 8)
    return {
        **case.weights,
        "shift to bytes": torch.full((case.weights[case.operation.weight].shape[0],), shift),
    }


def resnet(engine: str, form: IntegerForm, plan: Plan | None) -> Iterator[Layer]:
    """Its convolutions and the classifier, for an image of CIFAR-10."""
    network, data = cifar_resnet(20, "pretrained"), cifar10()
    for name, scheme in (plan.resolve(network) if plan is not None else {}).items():
        weight = network.get_parameter(name)
        weight.data = scheme.project(weight.data)
    image = next(iter(data.held_out))[0][:1]
    graph = whole_network(network, image, data.train, form, plan).graph
    named = "ResNet-20" if plan is None else "ResNet-20, rows of 4 bits and powers of two"
    yield from (
        case for case in _layers(named, engine, graph, image) if reason_against(case.operation) is None
    )


def signs() -> Iterator[Layer]:
    """Layers of a binary perceptron as the device of binary lanes deploys it, for all held-out images of digits."""
    data = DATA["digits"]()
    network, images = trained(data), torch.cat([images for images, _ in data.held_out])
    deployed = load_device("zcu102-binary").deploy(network, images[:1], PLAN, data.train)
    assert isinstance(deployed, IntegerDeployment)
    named = f"binary perceptron, digits ({evaluate(deployed, data.held_out).top1:.1%})"
    yield from (
        case
        for case in _layers(named, "binary", deployed.graph, images)
        if reason_against(case.operation) is None
    )


def _layers(network: str, engine: str, graph: Graph, x: Tensor) -> Iterator[Layer]:
    with torch.inference_mode():
        values = batch_values(graph, [x])
    for node in graph.nodes:
        if isinstance(node.operation, Quantized):
            weights, read = dict(graph.weights), values[node.inputs[0]]
            yield Layer(network, node.layer, engine, node.operation, weights, read)


def cases() -> Iterator[Case]:
    """All of them, each shape of a network once."""
    shift = IntegerForm(scales="power_of_two", per="tensor", rescale="shift", joins="separate", signed=True)
    multiplier = IntegerForm(rescale="multiplier", joins="separate")
    mixed = Plan((Rule("*conv*", MixedRows(FixedPoint(4), PowerOfTwo(4), 0.5)),))
    found = (
        mobilenet(),
        deit(),
        resnet("int8 by shifts", shift, None),
        resnet("mixed", multiplier, mixed),
        signs(),
    )
    seen = set()
    for case in (case for group in found for case in group):
        shape = (case.network, tuple(case.weights[case.operation.weight].shape), tuple(case.x.shape))
        if shape not in seen:
            seen.add(shape)
            yield as_product(case)
    for kind, engine, numbers, wanted in random_products(ENGINES):
        yield Case(RANDOM, kind, engine, numbers, wanted)


def by_lane(engine: Engine, numbers: Numbers) -> dict[str, int]:
    """How many sums lanes of each kind make of a product."""
    found, start = {}, 0
    tiles = places(engine, numbers)
    for kind in CODE_BITS:
        lanes = engine.lanes.of(kind)
        rows = sum(row != NOBODY for tile in tiles for row in tile[start : start + lanes])
        found[str(kind)], start = rows * numbers.product.positions, start + lanes
    return found


def vectors(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """By kind of lanes: sums of random numbers and of real layers."""
    return {
        kind: {
            "random": sum(row["by_lane"][kind] for row in rows if row["network"] == RANDOM),
            "real": sum(row["by_lane"][kind] for row in rows if row["network"] != RANDOM),
        }
        for kind in CODE_BITS
    }


def as_product(layer: Layer) -> Case:
    """The layer's numbers, and what the executor makes of them."""
    numbers = numbers_of(ENGINES[layer.engine], layer.operation, layer.weights, layer.x)
    with torch.inference_mode():
        expected = run_quantized(layer.operation, layer.weights, layer.x)
    wanted = expected[0].flatten(1) if expected.dim() == 4 else expected.reshape(-1, expected.shape[-1]).T
    return Case(layer.network, layer.layer, layer.engine, numbers, wanted)


def run(case: Case, simulated: SimulatedEngine) -> dict[str, Any]:
    """One row of the record."""
    numbers, wanted = case.numbers, case.wanted
    began = time.perf_counter()
    made = simulated.run(numbers)
    modelled = count(simulated.engine, jobs(simulated.engine, numbers.product)).total
    return {
        "network": case.network,
        "layer": case.layer,
        "engine": case.engine,
        "rows": {kind: rows for kind, rows in numbers.product.rows if rows},
        "columns": numbers.product.columns,
        "positions": numbers.product.positions,
        "by_lane": by_lane(simulated.engine, numbers),
        "levels": wanted.numel(),
        "levels_that_differ": int((made.levels != wanted).sum()),
        "different_levels": len(made.levels.unique()),
        "simulated_cycles": made.cycles,
        "modelled_cycles": modelled,
        "error": modelled / made.cycles - 1,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="engines", choices=("engines", "blocks"))
    parser.add_argument("--simulator", default="verilator", choices=("icarus", "verilator"))
    parser.add_argument("--output", type=Path, default=RESULTS / "fpga_simulation.json")
    options = parser.parse_args()
    try:
        (engines if options.what == "engines" else blocks)(options.simulator, options.output)
    except SpokeshaveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def blocks(simulator: Simulator, output: Path) -> None:
    """The CSB engine and the token selector on real data, in a section of the record."""
    found: dict[str, Any] = {"provenance": provenance(torch.get_num_threads()), "simulator": simulator}
    for name, made in (("selection", selection_rows), ("blocks", block_rows)):
        found[name] = []
        for row in made(simulator):
            found[name].append(row)
            print(json.dumps(row), flush=True)
    rows = found["selection"] + found["blocks"]
    found["worst_error"] = max(abs(row["error"]) for row in rows)
    found["that_differ"] = sum(
        count for row in rows for name, count in row.items() if name.endswith("that_differ")
    )
    put(output, {"csb_and_selection": found})


def engines(simulator: Simulator, output: Path) -> None:
    """Every case on the tiled engine; the section of the other two stays as it is."""
    record: dict[str, Any] = {
        "provenance": provenance(torch.get_num_threads()),
        "simulator": simulator,
    }
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        built: dict[str, SimulatedEngine] = {}
        for case in cases():
            if case.engine not in built:
                folder = Path(name) / str(len(built))
                folder.mkdir()
                built[case.engine] = simulated_engine(ENGINES[case.engine], folder, simulator)
            rows.append(run(case, built[case.engine]))
            print(json.dumps(rows[-1]), flush=True)
    record["worst_error"] = max(abs(row["error"]) for row in rows)
    record["vectors"] = vectors(rows)
    record["shapes"] = len({(*row["rows"].values(), row["columns"], row["positions"]) for row in rows})
    record["levels"] = sum(row["levels"] for row in rows)
    record["levels_that_differ"] = sum(row["levels_that_differ"] for row in rows)
    put(output, record | {"rows": rows})


if __name__ == "__main__":
    sys.exit(main())
