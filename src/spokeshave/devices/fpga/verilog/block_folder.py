"""A layer in compressed blocks as a folder: the CSB engine in Verilog, what it reads and what must come out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from spokeshave.compiler.folder import write_folder
from spokeshave.compiler.integers import IntegerDeployment
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.native import check_inputs
from spokeshave.compiler.operations import Convolution, Quantized
from spokeshave.compiler.quantization.executor import integer_sums
from spokeshave.devices.fpga.verilog.block_run import BlockProduct, block_product, reason_against_blocks
from spokeshave.devices.fpga.verilog.blocks import SUM_BITS, block_engine
from spokeshave.devices.fpga.verilog.folder import EXPECTED, KIND, RECORD, Written, node_of, readme
from spokeshave.devices.fpga.verilog.layer import columns_of
from spokeshave.devices.fpga.verilog.module import modules_of
from spokeshave.devices.fpga.verilog.simulation import write_modules
from spokeshave.devices.fpga.verilog.vectors import INPUTS, vector_bench, vector_words
from spokeshave.devices.fpga.verilog.words import to_words
from spokeshave.errors import SpokeshaveError

MOST_VECTORS = 8


@dataclass(frozen=True)
class BlockSettings:
    """Rows and columns of blocks, lanes, and columns that a lane multiplies two rows with in a cycle."""

    block: tuple[int, int]
    lanes: int = 4
    columns: int = 4

    @property
    def dsp(self) -> int:
        """DSP blocks: one for the two rows of a column."""
        return self.lanes * self.columns


def write_block_verilog(
    deployment: IntegerDeployment,
    layer: str,
    settings: BlockSettings,
    sample: Sequence[Tensor],
    folder: Path | str,
) -> Written:
    """Write a layer on the CSB engine, at the first `MOST_VECTORS` positions of a sample, to a folder.

    Raises SpokeshaveError for layers that do not exist, or whose weights are in no such blocks.
    """
    node = node_of(deployment, layer)
    assert isinstance(node.operation, Quantized)
    weight = deployment.graph.weights[node.operation.weight]
    reason = _reason(node.operation, weight, settings.block)
    if reason is not None:
        raise SpokeshaveError(f"the CSB engine cannot compute {layer}: {reason}")
    check_inputs(tuple(sample), deployment.manifest.inputs)
    read = batch_values(deployment.graph, sample)[node.inputs[0]]
    product = block_product(weight.flatten(1).long(), settings.block, settings.lanes, settings.columns)
    x, sums = vectors_of(node.operation, weight, read)
    modules, given = block_engine(product.engine), product.vectors(x)
    words = vector_words(modules, given)
    bench = vector_bench(modules, list(given), len(words))

    def write(whole: Path) -> None:
        files = write_modules(bench, whole)
        (whole / INPUTS).write_text("".join(f"{word}\n" for word in words))
        (whole / EXPECTED).write_text("".join(f"{word}\n" for word in expected_words(product, sums)))
        values = {"layer": layer, "files": " ".join(files), "cycles": product.modelled_cycles}
        values |= {"engine_files": " ".join(file for file in files if file != f"{bench.name}.v")}
        values |= {"period": product.period, "settled": product.settled, "vectors": len(x)}
        (whole / "README.md").write_text(readme("BLOCKS.md", values))
        record = {
            "layer": layer,
            "engine": {"kind": "csb", **asdict(settings)},
            "modelled_cycles": product.modelled_cycles,
        }
        (whole / RECORD).write_text(json.dumps(record, indent=1) + "\n")

    write_folder(Path(folder), KIND, RECORD, write)
    return Written(layer, len(modules_of(bench)), product.modelled_cycles)


def _reason(operation: Quantized, weight: Tensor, block: tuple[int, int]) -> str | None:
    if isinstance(operation.layer, Convolution) and operation.layer.groups > 1:
        return (
            f"it is a convolution of {operation.layer.groups} groups, each of which is a product of its own"
        )
    return reason_against_blocks(weight.flatten(1).long(), block)


def vectors_of(operation: Quantized, weight: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """int8 vectors `[n, inputs]` of a sample, and the executor's sums `[n, rows]` of them.

    Levels of 0 to 255 are read less 128; the zero point, which the executor takes off, stays in the sums.
    """
    offset = 128 if operation.input.high > 127 else 0
    x = (columns_of(operation, weight, read) - offset).T[:MOST_VECTORS]
    made = integer_sums(operation, read, weight).long()
    sums = (made[0].flatten(1).T if made.dim() == 4 else made.reshape(-1, made.shape[-1]))[:MOST_VECTORS]
    return x, sums + (operation.input.zero_point - offset) * weight.flatten(1).long().sum(1)


def expected_words(product: BlockProduct, sums: Tensor) -> list[str]:
    """What is read of every vector: word by word one row of all lanes; rows that no band has are 0."""
    engine, rows = product.engine, torch.arange(product.rows)
    bands = rows // product.block_rows
    places = bands // engine.lanes * product.block_rows + rows % product.block_rows
    totals = torch.zeros(len(sums), engine.rows, engine.lanes, dtype=torch.int64)
    totals[:, places, bands % engine.lanes] = sums
    return to_words(totals.flatten(0, 1), SUM_BITS)
