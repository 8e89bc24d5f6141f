"""What a network does on a device, as pictures: resources in use, rooflines, energies by part. All *modelled*."""

from collections.abc import Sequence
from functools import singledispatch

from spokeshave.deployment import Deployment
from spokeshave.devices.assignment import assign
from spokeshave.devices.crossbars.aqfp import AQFPDevice
from spokeshave.devices.crossbars.deployment import CrossbarDeployment
from spokeshave.devices.crossbars.occupancy import Occupancy, replication
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.devices.device import Device
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.integers import IntegerDevice
from spokeshave.devices.roofline import RooflineDevice
from spokeshave.devices.whole import whole_part
from spokeshave.pictures import Gauge, Gauges, Picture, Roofline, Shares
from spokeshave.plan import Plan
from spokeshave.workload import Workload


@singledispatch
def pictures_of(
    device: Device, workload: Workload, plan: Plan | None = None, deployment: Deployment | None = None
) -> tuple[Picture, ...]:
    """Pictures of a network whose weights lie in the plan's schemes; none for devices that nobody drew yet.

    A new family registers its own. `deployment` may know more than the plan: bits that inputs really need.
    """
    return ()


@pictures_of.register
def _(
    device: RooflineDevice, workload: Workload, plan: Plan | None = None, deployment: Deployment | None = None
) -> tuple[Picture, ...]:
    schemes = assign(workload, plan)
    points = []
    for layer in workload.layers:
        scheme = schemes.get(layer.parameter or "")
        flop = device.operations(layer, scheme)
        seconds = device.seconds(layer, scheme)
        points.append((layer.name, flop / device.moved_bytes(layer, scheme), flop / seconds))
    note = "Each layer's rate as modelled, its launch included; the roof is the device's peak."
    return (
        Roofline("Roofline", note, "flop", device.peak.value, device.bandwidth.value, tuple(points)),
        _seconds(device, workload, plan),
    )


@pictures_of.register
def _(
    device: IntegerDevice, workload: Workload, plan: Plan | None = None, deployment: Deployment | None = None
) -> tuple[Picture, ...]:
    bits, (workload, _) = device.bits(workload, plan), whole_part(device.name, workload)
    value = {key: figure.value for key, figure in device.figures.items()}
    rows = [
        (layer, wide, device.moved_bytes(layer, wide))
        for layer, wide in zip(workload.layers, bits, strict=True)
    ]
    points = tuple(
        (layer.name, layer.multiply_adds / moved, layer.multiply_adds / device.seconds(layer, wide))
        for layer, wide, moved in rows
    )
    products = sum(layer.multiply_adds for layer in workload.layers)
    energies = (
        ("multiplying", products * value["multiply_energy"]),
        ("adding", products * value["add_energy"]),
        (
            "rescaling",
            sum(layer.rows * layer.positions for layer in workload.layers) * value["rescale_energy"],
        ),
        ("memory", sum(moved for *_, moved in rows) * value["byte_energy"]),
    )
    note = "Each layer's rate as modelled, its launch included."
    peak = value["units"] * value["clock"]
    return (
        Roofline("Roofline", note, "multiply-adds", peak, value["bandwidth"], points),
        Shares("Energy of one sample", "By what takes it, modelled.", "J", energies),
    )


@pictures_of.register
def _(
    device: ReRAMDevice, workload: Workload, plan: Plan | None = None, deployment: Deployment | None = None
) -> tuple[Picture, ...]:
    bits = deployment.bits if isinstance(deployment, CrossbarDeployment) else None
    layers = device.layers(workload, plan, bits)
    chip = int(device.figures["crossbars"].value)
    copies = replication(layers, device.step_seconds, chip)
    once = sum(layer.crossbars for layer in layers)
    filled = sum(n * layer.crossbars for n, layer in zip(copies, layers, strict=True))
    gauges = (
        Gauge("crossbars, network once", once, chip),
        Gauge("crossbars, filled with copies", filled, chip),
        *_in_use(layers, once),
    )
    by_part: dict[str, float] = {}
    for layer in layers:
        for part, joules in device.joules_by_part(layer).items():
            by_part[part] = by_part.get(part, 0.0) + joules
    note = (
        "Of the crossbars that hold the network once: word lines, bit lines and cells with weights. Modelled."
    )
    return (
        Gauges("Crossbars in use", note, gauges),
        Shares("Energy of one sample", "By what takes it, modelled.", "J", tuple(by_part.items())),
    )


def _in_use(layers: Sequence[Occupancy], crossbars: int) -> tuple[Gauge, ...]:
    """Lines, columns and cells of so many crossbars."""
    array = layers[0].array
    lines = sum(one.groups * one.lines * -(-one.columns // array.columns) for one in layers)
    columns = sum(one.groups * one.columns * -(-one.lines // array.rows) for one in layers)
    cells = sum(one.groups * one.lines * one.columns for one in layers)
    return (
        Gauge("word lines in use", lines, crossbars * array.rows),
        Gauge("bit lines in use", columns, crossbars * array.columns),
        Gauge("cells in use", cells, crossbars * array.rows * array.columns),
    )


@pictures_of.register
def _(
    device: AQFPDevice, workload: Workload, plan: Plan | None = None, deployment: Deployment | None = None
) -> tuple[Picture, ...]:
    layers, height = device.layers(workload, plan), device.columns.height
    tiles = [(-(-layer.columns // height), -(-layer.rows // height)) for layer in layers]
    crossbars = sum(tall * wide for tall, wide in tiles)
    lines = sum(layer.columns * wide for layer, (_, wide) in zip(layers, tiles, strict=True))
    columns = sum(layer.rows * tall for layer, (tall, _) in zip(layers, tiles, strict=True))
    cells = sum(layer.rows * layer.columns for layer in layers)
    energy = device.figures["junction_energy"].value * device.columns.stream
    by_part: dict[str, float] = {}
    for layer in layers:
        for part, junctions in device.junctions_by_part(layer).items():
            by_part[part] = by_part.get(part, 0.0) + junctions * layer.positions * energy
    note = f"{crossbars} crossbars of {height} x {height} cells; the rest of them cancels. Modelled."
    return (
        Gauges(
            "Crossbars in use",
            note,
            (
                Gauge("word lines in use", lines, crossbars * height),
                Gauge("columns in use", columns, crossbars * height),
                Gauge("cells in use", cells, crossbars * height**2),
            ),
        ),
        Shares("Energy of one sample at 4.2 K", "By what takes it, modelled.", "J", tuple(by_part.items())),
    )


@pictures_of.register
def _(
    device: FPGADevice, workload: Workload, plan: Plan | None = None, deployment: Deployment | None = None
) -> tuple[Picture, ...]:
    mapped = device.mapped(workload, plan)
    seconds = mapped.cycles / device.clock
    names = ("dsp", "lut", "ff", "bram")
    gauges = tuple(
        Gauge(name.upper(), getattr(device.used, name), getattr(device.present, name)) for name in names
    )
    points = tuple(
        (layer.name, layer.intensity, layer.multiply_adds / (layer.cycles / device.clock))
        for layer in mapped.layers
    )
    busy = 100 * mapped.utilisation
    under = f"Each layer's rate by its cycles; lanes make {busy:.0f} % of the products they could."
    energies = [(part, joules * seconds) for part, joules in device.watts_by_part().items()]
    energies.append(("memory", mapped.moved_bytes * device.figures["byte_energy"].value))
    return (
        Gauges("Resources of the chip", "What the engine takes, modelled.", gauges),
        Roofline("Roofline", under, "multiply-adds", device.peak, device.bandwidth, points),
        Shares("Energy of one sample", "By what takes it, modelled.", "J", tuple(energies)),
        _seconds(device, workload, plan),
    )


def _seconds(device: Device, workload: Workload, plan: Plan | None) -> Shares:
    by_layer = device.cost(workload, plan).by_layer
    return Shares("Time of one sample by layer", "Modelled.", "s", by_layer)
