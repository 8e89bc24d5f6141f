"""`spokeshave devices engine`: formats, their ratio and the engine with which a network reaches a rate on an FPGA."""

from pathlib import Path
from typing import Annotated

import typer

from spokeshave.cli.arguments import DataName, NetworkName, Shape
from spokeshave.cli.example import find_example
from spokeshave.cli.output import Json, check_output_file, console, print_json, writing
from spokeshave.errors import SpokeshaveError

EXAMPLE = "Example: spokeshave devices engine zcu102 cifar10-resnet20 --rate 2000"


def engine(
    device: Annotated[str, typer.Argument(help="An FPGA, or the TOML file of one.")],
    network: NetworkName,
    rate: Annotated[float, typer.Option(help="Samples a second to reach.")],
    dsp: Annotated[int | None, typer.Option(help="DSP blocks that the engine may take.")] = None,
    lut: Annotated[int | None, typer.Option(help="LUTs that it may take.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the device with this engine as a TOML file.")
    ] = None,
    shape: Shape = None,
    data: DataName = None,
    json: Json = False,
) -> None:
    """Find bit widths, the share of power-of-two rows and the engine for a rate; all of it modelled."""
    from dataclasses import asdict

    from spokeshave.devices import load_device
    from spokeshave.devices.fpga.answer import answer
    from spokeshave.devices.fpga.device import FPGADevice
    from spokeshave.devices.fpga.write import write_fpga
    from spokeshave.references import resolve_network
    from spokeshave.workload import trace

    found = load_device(device)
    if not isinstance(found, FPGADevice):
        raise SpokeshaveError(
            f"{device} is no FPGA: engines are searched for devices of family fpga, such as zcu102"
        )
    if output is not None:
        check_output_file(output, (".toml",))
    example = find_example(network, resolved := resolve_network(network), shape, data)
    result = answer(found.with_budget(dsp=dsp, lut=lut), trace(resolved, example), rate)
    if output is not None:
        told = f"found by the search for {network} at {rate:g} samples a second"
        with writing(output):
            write_fpga(result.design.device, output, told)
    if json:
        chip = result.design.device
        print_json(
            {
                "precision": result.precision,
                "share": result.share,
                "plan": result.plan.to_yaml(),
                "engine": asdict(chip.engine),
                "samples_per_second": result.design.samples_per_second,
                "samples_per_joule": result.design.samples_per_joule,
                "utilisation": result.design.mapped.utilisation,
                "used": asdict(chip.used),
                "budget": asdict(chip.budget),
                "kind": "modelled",
            }
        )
        return
    console().print(result.sentence(), markup=False, highlight=False)
    console().print(str(result.design.device.engine), markup=False, highlight=False)
    console().print(result.plan.to_yaml(), markup=False, highlight=False)
