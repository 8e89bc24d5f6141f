"""Costs of networks on phones and an FPGA under the same compression, for the energy study; all *modelled*."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from torch import nn

from papers.forms_trials import lenet
from papers.speech import Recognizer, speech
from spokeshave.devices import RooflineDevice, load_device
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.search import find_engine
from spokeshave.networks import cifar_resnet
from spokeshave.networks.imagenet import mobilenet_v2, resnet50
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload, trace

PHONES = ("galaxy-s10-cpu", "galaxy-s10-gpu", "galaxy-s20-cpu", "galaxy-s20-gpu")
FPGA = "zcu102"
OPTIONS = ("dense", "pruned", "8 bits", "pruned, 8 bits", "pruned, 4 bits")
COMPRESSED = "pruned, 8 bits"  # the option whose accuracy is measured, on networks that are trained here
SAME = {"8 bits": "dense", "pruned, 8 bits": "pruned"}  # on the engine, which has no floats
BESIDE = "galaxy-s20-gpu"  # the phone whose order with the FPGA is probed
MIXED = MixedRows(FixedPoint(4), PowerOfTwo(4), 0.5)
STEPS, FEATURES = 30, 39
RESNET_SPARSITY, LENET_SPARSITY, GRU_SPARSITY, HIDDEN = 0.2, 0.5, 2 / 3, 128  # of what is trained here
TURNED = 0.3  # by how much constants are turned, up and down
PHONE_CONSTANTS = ("peak", "bandwidth", "launch", "power")
FPGA_CONSTANTS = ("static_power", "dsp_energy", "lut_energy", "bram_energy", "byte_energy", "bandwidth")


@dataclass(frozen=True)
class Subject:
    """A network, and the share of weights that pruning takes from its layers (not from the first and the last).

    `trained`: its accuracy under the same compression is measured here.
    """

    name: str
    workload: Workload
    sparsity: float
    trained: bool = False


class Gru(nn.Module):
    """The recurrent network of RTMobile's table: two layers of 1,024 units, 39 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.GRU(FEATURES, 1024, 2, batch_first=True)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[N, T, 39]` to `[N, T, 1024]`."""
        states: torch.Tensor = self.layers(frames)[0]
        return states


def subjects(quick: bool) -> tuple[Subject, ...]:
    """The three networks that are trained, then larger ones: recurrent, convolutions, and depthwise ones."""
    large, small = torch.zeros(1, 3, 224, 224), torch.zeros(1, 3, 32, 32)
    found = [
        Subject("ResNet-20", trace(cifar_resnet(20).eval(), small), RESNET_SPARSITY, True),
        Subject("LeNet-5", trace(lenet().eval(), torch.zeros(1, 1, 28, 28)), LENET_SPARSITY, True),
        Subject("GRU 128", trace(recognizer().eval(), speech().example), GRU_SPARSITY, True),
    ]
    if quick:
        return tuple(found)
    return (
        *found,
        Subject("GRU 2 x 1024", trace(Gru().eval(), torch.zeros(1, STEPS, FEATURES)), 0.9),
        Subject("ResNet-50", trace(resnet50().eval(), large), 0.75),
        Subject("MobileNetV2", trace(mobilenet_v2().eval(), large), 0.5),
    )


def recognizer() -> Recognizer:
    """The recurrent network that is trained: fresh weights."""
    sounds = speech()
    return Recognizer("gru", sounds.training.inputs.shape[2], HIDDEN, 1, sounds.classes)


def block(shape: tuple[int, ...], sparsity: float) -> Scheme:
    """One structure for both: blocks as tall as the engine's lanes, or as the matrix."""
    columns = torch.Size(shape[1:]).numel()
    return BlockColumnRow(sparsity, block=(min(64, shape[0]), min(64, columns)))


def prunable(workload: Workload) -> list[Layer]:
    """Recurrent layers, and others with weights but the first, the last and grouped convolutions."""
    weighted = [layer for layer in workload.layers if layer.parameter is not None]
    inner = [layer for layer in weighted[1:-1] if layer.groups == 1]
    return [layer for layer in weighted if layer.kind == "recurrent" or layer in inner]


def plan_for(subject: Subject, option: str) -> Plan | None:
    """The plan of an option on a phone, or on the FPGA for what its lanes multiply with."""
    levels: Scheme | None = {"8": FixedPoint(8), "4": FixedPoint(4)}.get(option[-6:-5])
    chosen = {layer.parameter for layer in prunable(subject.workload)} if "pruned" in option else set()
    rules = []
    for layer in subject.workload.layers:
        if layer.parameter is not None:
            pruned = block(layer.weight_shape, subject.sparsity) if layer.parameter in chosen else None
            scheme = pruned & levels if pruned is not None and levels is not None else pruned or levels  # type: ignore[operator]
            rules.append(Rule(layer.parameter, scheme))
    return Plan(tuple(rules)) if option != "dense" else None


def on_phone(device: RooflineDevice, subject: Subject, option: str) -> dict[str, float]:
    """Seconds and joules of a sample, above what the phone takes when idle, with its integer instructions."""
    cost = device.with_integers().cost(subject.workload, plan_for(subject, option))
    assert cost.latency_seconds is not None
    assert cost.energy_joules is not None
    return {"seconds": cost.latency_seconds, "joules": cost.energy_joules}


def engine_for(device: FPGADevice, subject: Subject, option: str) -> FPGADevice:
    """The chip with the engine on which the option takes the fewest cycles; lanes of float do not exist."""
    workload, plan = on_lanes(subject, option)
    return find_engine(device, device.works(workload, plan)).device


def on_lanes(subject: Subject, option: str) -> tuple[Workload, Plan | None]:
    """What the engine multiplies: dense layers in eight bits, or rows of four bits, half of them powers of two.

    A pruned layer is one whose tiles of rows read only the columns that they keep, as the study has it: a smaller
    product; the lists of columns are left out.
    """
    workload = gathered(subject) if "pruned" in option else subject.workload
    return workload, Plan((Rule("*", MIXED),)) if "4 bits" in option else None


def on_fpga(device: FPGADevice, subject: Subject, option: str) -> dict[str, float]:
    """Seconds and joules of a sample; `above_idle` leaves static power out, as the phones' figures do."""
    cost = device.cost(*on_lanes(subject, option))
    assert cost.latency_seconds is not None
    assert cost.energy_joules is not None
    standing = device.figures["static_power"].value * cost.latency_seconds
    return {
        "seconds": cost.latency_seconds,
        "joules": cost.energy_joules,
        "above_idle": cost.energy_joules - standing,
    }


def gathered(subject: Subject) -> Workload:
    """The workload whose pruned layers have the columns that each block of rows keeps."""
    chosen = {layer.parameter for layer in prunable(subject.workload)}

    def smaller(layer: Layer) -> Layer:
        if layer.parameter not in chosen:
            return layer
        columns = ceil(layer.columns * (1 - subject.sparsity))
        return replace(layer, columns=columns, weight_shape=(layer.weight_shape[0], columns))

    return Workload(tuple(map(smaller, subject.workload.layers)))


def devices() -> tuple[dict[str, RooflineDevice], FPGADevice]:
    """The phones, and the FPGA."""
    phones, board = {name: load_device(name) for name in PHONES}, load_device(FPGA)
    assert isinstance(board, FPGADevice)
    return {name: phone for name, phone in phones.items() if isinstance(phone, RooflineDevice)}, board


def costs(subject: Subject) -> dict[str, Any]:
    """`by_device`: seconds and joules by device and option; `flips`: what changes the order of the best two."""
    phones, board = devices()
    boards = {option: engine_for(board, subject, option) for option in OPTIONS if option not in SAME}
    found: dict[str, dict[str, dict[str, float]]] = {
        name: {option: on_phone(phone, subject, option) for option in OPTIONS}
        for name, phone in phones.items()
    }
    found[FPGA] = {option: on_fpga(boards[SAME.get(option, option)], subject, option) for option in OPTIONS}
    engine = boards[SAME[COMPRESSED]]
    return {"by_device": found, "flips": flips(subject, COMPRESSED, phones[BESIDE], engine)}


def flips(subject: Subject, option: str, phone: RooflineDevice, board: FPGADevice) -> list[str]:
    """Constants that, turned up or down by `TURNED`, change which of phone and FPGA takes less energy."""
    base = on_phone(phone, subject, option)["joules"] < on_fpga(board, subject, option)["joules"]
    found = []
    for factor in (1 - TURNED, 1 + TURNED):
        for one, other, told in _turned(phone, board, factor):
            wins = on_phone(one, subject, option)["joules"] < on_fpga(other, subject, option)["joules"]
            found += [told] if wins != base else []
    return found


def _turned(phone: RooflineDevice, board: FPGADevice, factor: float) -> list[tuple[Any, Any, str]]:
    cases: list[tuple[Any, Any, str]] = []
    for name in PHONE_CONSTANTS:
        figure = getattr(phone, name)
        changed = replace(phone, **{name: replace(figure, value=figure.value * factor)})
        cases.append((changed, board, f"{phone.name} {name} x {factor:g}"))
    for name in FPGA_CONSTANTS:
        changed_board = board.with_figures(**{name: board.figures[name].value * factor})
        cases.append((phone, changed_board, f"{board.name} {name} x {factor:g}"))
    return cases


def gain(found: Mapping[str, Mapping[str, float]], option: str, before: str = "dense") -> float:
    """How many times less energy an option takes than another on the same device."""
    return found[before]["joules"] / found[option]["joules"]
