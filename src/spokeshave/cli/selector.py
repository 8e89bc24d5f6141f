"""`spokeshave devices selector`: HeatViT's token selector as Verilog, with a testbench and what must be written."""

from pathlib import Path
from typing import Annotated

import typer

from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave devices selector --tokens 197 --width 192 --output rtl"


def selector(
    tokens: Annotated[int, typer.Option(help="Tokens of an image, at most.")],
    width: Annotated[int, typer.Option(help="Bytes of a token.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    columns: Annotated[int, typer.Option(help="Bytes of a token that are read in a cycle.")] = 16,
    threshold: Annotated[int, typer.Option(help="Tokens of this score or more stay, of 0 to 255.")] = 128,
    json: Json = False,
) -> None:
    """Write the control that selects a vision transformer's tokens by their scores, as Verilog that simulates."""
    from spokeshave.devices.fpga.verilog.selection_folder import SelectorSettings, write_selector

    written = write_selector(SelectorSettings(tokens, width, columns, threshold), output)
    if json:
        print_json({"output": str(output), "modelled_cycles": written.modelled_cycles})
        return
    told = f"{output}: {written.layer} of {tokens} tokens; {written.modelled_cycles} cycles of its image (modelled)"
    console().print(f"{told}; README.md there says how to simulate", markup=False)
