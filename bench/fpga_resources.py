"""What engines take of an FPGA, counted by Yosys beside the model, and what its parts take, fitted to other engines.

    python -m bench.fpga_resources fit      what parts take, from the engines of `FITTED`, into devices/fpga/costs.toml
    python -m bench.fpga_resources check    the engines of `CHECKED` beside the model, into results/fpga_resources.json
    python -m bench.fpga_resources requantizers     both requantizers
    python -m bench.fpga_resources selectors    token selectors
    python -m bench.fpga_resources blocks       CSB engines
    python -m bench.fpga_resources large        engines an eighth and half as large as that of zcu102, which takes long

The last four go into sections of their own of the same file, and each command leaves the others' as they are. Counts
go to runs/fpga_counts.json, so that neither command counts an engine twice.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.records import RESULTS, provenance, put
from spokeshave.atomic import write_atomically
from spokeshave.devices.fpga import resources
from spokeshave.devices.fpga.engine import Engine, Lanes, Requantizer
from spokeshave.devices.fpga.resources import (
    COSTS,
    Resources,
    counted_parts,
    lane_parts,
    resources_of,
)
from spokeshave.devices.fpga.verilog.blocks import BlockEngine, block_engine
from spokeshave.devices.fpga.verilog.engine import generate_engine
from spokeshave.devices.fpga.verilog.lanes import binary_dot_product, pair_dot_product, shift_dot_product
from spokeshave.devices.fpga.verilog.module import Module, source
from spokeshave.devices.fpga.verilog.requantizers import requantizer
from spokeshave.devices.fpga.verilog.selection import token_selector
from spokeshave.devices.fpga.verilog.synthesis import (
    VERSION,
    counted_cells,
    resources_in,
)

COUNTS = Path("runs/fpga_counts.json")
TOML = Path(resources.__file__).parent / COSTS
FIT_COMMAND = "python -m bench.fpga_resources fit"
BLOCKS = {"int8_product": 0.5, "int4_product": 0.5, "multiplier_output": 4}  # DSP, as they are built
WHAT = {
    "int8_product": "a column of an int8 lane: half a DSP block and the register behind it",
    "int4_product": "a column of an int4 lane: half a DSP block and the register behind it",
    "shift_product": "a column of a lane of powers of two: shifter and register",
    "binary_product": "a column of a binary lane: comparison and its share of counting by sixes",
    "adder_bit": "a bit of a sum in a tree of adders, with its register",
    "lane": "what a lane has behind its tree: accumulator and its share of reading sums",
    "multiplier_output": "a requantizer by multiplication",
    "shift_output": "a requantizer by shifts",
    "word_bit": "a bit of the widest word in memory: its share of loading",
    "control": "loader, sequencer and storer",
}


def _engine(lanes: Lanes, columns: int, outputs: int, depth: int, requantizer: str, **more: Any) -> Engine:
    sizes = {"positions": 32, "load_bytes": 32} | more
    return Engine(lanes, columns, depth=depth, outputs=outputs, requantizer=requantizer, **sizes)  # type: ignore[arg-type]


PARTS: tuple[
    tuple[Module, dict[str, int]], ...
] = (  # modules alone, and how many of which part each of them is
    *[(pair_dot_product(columns, 8, 8), lane_parts("int8", 2, columns)) for columns in (8, 32)],
    *[(pair_dot_product(columns, 4, 8), lane_parts("int4", 2, columns)) for columns in (8, 32)],
    *[(shift_dot_product(columns, 8), lane_parts("shift", 1, columns)) for columns in (8, 32)],
    *[(binary_dot_product(columns), lane_parts("binary", 1, columns)) for columns in (32, 64, 256)],
    (requantizer("shift", 32), {"shift_output": 1}),
    (requantizer("multiplier", 32), {"multiplier_output": 1}),
)
FITTED = (
    _engine(Lanes(int8=4), 8, 4, 64, "multiplier"),
    _engine(Lanes(int8=8), 4, 2, 64, "shift"),
    _engine(Lanes(int4=4), 8, 1, 64, "shift"),
    _engine(Lanes(int4=8), 4, 2, 64, "multiplier"),
    _engine(Lanes(int4=2, shift=2), 12, 2, 64, "shift"),
)
CHECKED = (
    _engine(Lanes(int8=8), 8, 4, 64, "multiplier"),
    _engine(Lanes(int8=4, shift=4), 8, 2, 128, "multiplier"),
    _engine(Lanes(int4=4, shift=4), 8, 4, 64, "shift"),
    _engine(Lanes(int8=2, int4=2, shift=2), 8, 2, 64, "multiplier"),
    _engine(Lanes(shift=6), 8, 2, 64, "shift"),
    _engine(Lanes(binary=16), 32, 4, 64, "shift"),
    _engine(Lanes(int8=12), 4, 4, 64, "shift", signed=False),
    _engine(Lanes(int4=12), 4, 3, 64, "multiplier", signed=False),
    _engine(Lanes(int8=4), 16, 2, 64, "shift"),
    _engine(Lanes(shift=4), 12, 2, 128, "multiplier", positions=64),
    _engine(Lanes(int8=2, int4=2, shift=6), 6, 2, 64, "shift", load_bytes=16),
    _engine(Lanes(int8=4), 32, 2, 64, "shift"),
    _engine(Lanes(int8=2, shift=2), 32, 2, 64, "multiplier"),
    _engine(Lanes(int8=2, shift=2), 8, 2, 24, "shift", positions=99),
)

LARGE = (  # zcu102's has four times the lanes and twice the columns of the first, twice the lanes of the second
    _engine(Lanes(int8=8, shift=8), 32, 4, 48, "multiplier", positions=99, load_bytes=86),
    _engine(Lanes(int8=16, shift=16), 64, 8, 48, "multiplier", positions=99, load_bytes=86),
)

SELECTOR_TOKENS = 99
SELECTORS = ((2, 16), (4, 16), (4, 8), (8, 8))  # columns and words of a token; the first two are fitted
BLOCK_LANES = (2, 3, 4, 6)  # the first two are fitted
BLOCK_SIZES = {"columns": 4, "rows": 32, "inputs": 48}


def counted(top: Module, how: str = "cells") -> dict[str, int]:
    """Cells of a module, from the file where they have been counted before."""
    known = json.loads(COUNTS.read_text()) if COUNTS.is_file() else {}
    key = hashlib.sha256(f"{VERSION} {how} {source(top)}".encode()).hexdigest()
    if key not in known:
        made = counted_cells(top, multipliers=how == "cells")
        known = (json.loads(COUNTS.read_text()) if COUNTS.is_file() else {}) | {key: made}
        COUNTS.parent.mkdir(exist_ok=True)
        write_atomically(COUNTS, json.dumps(known).encode())
    return known[key]


def of_engine(engine: Engine) -> Resources:
    found = resources_in(counted(generate_engine(engine)))
    print(engine, found, flush=True)
    return found


def fit() -> None:
    """LUTs and flip-flops of parts by least squares of relative errors; DSP blocks stay as they are built."""
    rows = [(found, resources_in(counted(module))) for module, found in PARTS]
    rows += [(counted_parts(engine), of_engine(engine)) for engine in FITTED]
    parts = list(counted_parts(FITTED[0]))
    parts += [part for part in WHAT if part not in parts]
    features = [[row.get(part, 0) for part in parts] for row, _ in rows]
    found = {
        name: _least_squares(features, [getattr(count, name) for _, count in rows]) for name in ("lut", "ff")
    }
    text = (
        "# What one part of the engine takes of an UltraScale+ FPGA. DSP blocks follow from how the engine is built;\n"
        f"# LUTs and flip-flops are fitted to {len(FITTED)} engines and {len(PARTS)} of their modules alone, as Yosys\n"
        f"# ({VERSION}) counts them: {FIT_COMMAND}\n"
    )
    for index, part in enumerate(parts):
        text += (
            f"\n[{part}]\ndsp = {BLOCKS.get(part, 0):g}\nlut = {found['lut'][index]:.2f}\n"
            f'ff = {found["ff"][index]:.2f}\nstatus = "inferred"\nsource = "{WHAT[part]}; fitted by {FIT_COMMAND}"\n'
        )
    TOML.write_text(text)


def _least_squares(features: Sequence[Sequence[int]], counts: Sequence[float]) -> list[float]:
    """Weights that are not negative: what would be is left out."""
    matrix = np.array(features, float) / np.array(counts, float)[:, None]
    kept = list(range(matrix.shape[1]))
    while True:
        weights = np.linalg.lstsq(matrix[:, kept], np.ones(len(counts)), rcond=None)[0]
        if weights.min() >= 0:
            break
        kept.pop(int(weights.argmin()))
    whole = np.zeros(matrix.shape[1])
    whole[kept] = weights
    return [float(weight) for weight in whole]


def check(output: Path) -> None:
    """Every engine of `CHECKED`."""
    record: dict[str, Any] = {"provenance": provenance(1), "yosys": VERSION, "family": "xcup"}
    record["engines"] = [_row(engine) for engine in CHECKED]
    record["worst_error"] = {
        name: max(abs(row["error"][name]) for row in record["engines"])
        for name in ("dsp", "lut", "ff", "bram")
    }
    put(output, record)
    print(json.dumps(record["worst_error"]))


def large(output: Path) -> None:
    """Engines nearer to those that are shipped."""
    rows = [_row(engine) for engine in LARGE]
    put(output, {"large": {"provenance": provenance(1), "engines": rows}})
    print(json.dumps([row["error"] for row in rows]))


def requantizers(output: Path) -> None:
    """The two requantizers without DSP blocks: LUTs, and all cells of the FPGA."""
    shift, multiplier = _requantizer("shift"), _requantizer("multiplier")
    found = {
        "provenance": provenance(1),
        "shift": shift,
        "multiplier": multiplier,
        "ratio": {name: round(multiplier[name] / count, 2) for name, count in shift.items()},
    }
    put(output, {"requantizers": found})
    print(json.dumps(found))


def _requantizer(kind: Requantizer) -> dict[str, float]:
    """Flip-flops and carry chains are cells too."""
    cells = counted(requantizer(kind, 32), "no multipliers")
    return {"luts": resources_in(cells).lut, "cells": sum(cells.values())}


def selectors(output: Path) -> None:
    """Token selectors by their columns; words of a token change little."""
    found = {size: _counted(token_selector(*size, SELECTOR_TOKENS)) for size in SELECTORS}
    sizes = {size: {"columns": size[0], "words": size[1], "tokens": SELECTOR_TOKENS} for size in found}
    _add_straight(output, "selectors", [(size[0], sizes[size], one) for size, one in found.items()])


def blocks(output: Path) -> None:
    """CSB engines by their lanes."""
    found = {lanes: _counted(block_engine(BlockEngine(lanes, **BLOCK_SIZES))) for lanes in BLOCK_LANES}
    _add_straight(
        output, "csb", [(lanes, {"lanes": lanes, **BLOCK_SIZES}, one) for lanes, one in found.items()]
    )


def _counted(top: Module) -> Resources:
    found = resources_in(counted(top))
    print(top.name, found, flush=True)
    return found


def _add_straight(output: Path, name: str, counts: Sequence[tuple[int, dict[str, int], Resources]]) -> None:
    """A straight line through the two smallest, and its error at the others, in the record."""
    (few, _, small), (many, _, large) = counts[:2]
    rows = []
    for size, sizes, one in counts:
        step, names = (size - few) / (many - few), ("dsp", "lut", "ff")
        line = {part: (getattr(small, part), getattr(large, part)) for part in names}
        modelled = {part: low + step * (high - low) for part, (low, high) in line.items()}
        told = {part: getattr(one, part) for part in names}
        error = {part: round(modelled[part] / told[part] - 1, 4) for part in names}
        rows.append(sizes | {"modelled": modelled, "counted": told, "error": error})
    put(output, {name: {"provenance": provenance(1), "fitted": rows[:2], "checked": rows[2:]}})
    print(json.dumps(rows[2:]))


def _row(engine: Engine) -> dict[str, Any]:
    mine, theirs = resources_of(engine), of_engine(engine)
    names = ("dsp", "lut", "ff", "bram")
    pairs = dict(zip(names, zip(mine.values(), theirs.values(), strict=True), strict=True))
    return {
        "engine": str(engine),
        "modelled": {name: round(modelled, 1) for name, (modelled, _) in pairs.items()},
        "counted": {name: count for name, (_, count) in pairs.items()},
        "error": {
            name: round(modelled / count - 1, 4) if count else 0.0
            for name, (modelled, count) in pairs.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fit", "check", "requantizers", "selectors", "blocks", "large"))
    parser.add_argument("--output", type=Path, default=RESULTS / "fpga_resources.json")
    options = parser.parse_args()
    if options.what == "fit":
        fit()
    else:
        added = (check, requantizers, selectors, blocks, large)
        {one.__name__: one for one in added}[options.what](options.output)


if __name__ == "__main__":
    main()
