"""Chips rebuilt from their blocks, and costs that are what the formulas say."""

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.devices.crossbars import Array
from spokeshave.devices.crossbars.occupancy import Occupancy, lockstep_bits, replication, used
from spokeshave.errors import SpokeshaveError
from spokeshave.networks import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.workload import trace

ISAAC, FORMS = load_device("isaac"), load_device("forms")
POLARIZED = Plan((Rule("*", Polarized(8)),))


@pytest.fixture(scope="module")
def workload():
    return trace(cifar_resnet(20), torch.zeros(1, 3, 32, 32))


def test_the_chip_of_isaac_is_rebuilt_from_its_blocks():
    chip = ISAAC.figures["crossbars"].value
    assert chip * ISAAC.crossbar_area == pytest.approx(62.5, rel=0.01)  # mm2, without the links between chips
    assert chip * ISAAC.crossbar_power == pytest.approx(55.4, rel=0.02)  # W


def test_a_read_of_all_rows_takes_forms_longer_and_more_energy_at_its_converters():
    assert ISAAC.step_seconds == pytest.approx(100e-9)
    assert 16 * FORMS.step_seconds == pytest.approx(244e-9, rel=0.01)
    joules = {d.name: d.array.columns * d.figures["converter_energy"].value for d in (ISAAC, FORMS)}
    assert 16 * joules["forms"] == pytest.approx(463e-12, rel=0.01)
    assert joules["isaac"] == pytest.approx(213e-12, rel=0.07)


def test_what_a_layer_takes(workload):
    layer = ISAAC.layers(workload)[-2]
    assert (layer.name, layer.lines, layer.columns, layer.crossbars) == ("layer3.2.conv2", 576, 256, 5 * 2)
    assert (layer.steps, layer.conversions, layer.driven) == (16, 5 * 256 * 16, 576 * 2 * 16)
    layer = FORMS.layers(workload, POLARIZED)[-2]
    assert (layer.steps, layer.conversions) == (16 * 11, 72 * 256 * 11)
    first = FORMS.layers(workload, POLARIZED)[0]
    assert (first.lines, first.steps) == (27, 4 * 11)


def test_energy_and_seconds_are_those_of_the_formulas(workload):
    cost, layers = ISAAC.cost(workload), ISAAC.layers(workload)
    standing = (0.3 + 0.18375 + 0.426) * 1e-3
    joules = sum(
        layer.vectors
        * (
            layer.conversions * (1.5625e-12 + 0.021e-12)
            + layer.driven * 0.42e-12
            + layer.crossbars * 16 * 100e-9 * standing
        )
        for layer in layers
    )
    assert cost.energy_joules == pytest.approx(joules)
    assert cost.kind == "modelled"
    alone = ISAAC.with_figures(crossbars=sum(layer.crossbars for layer in layers)).cost(workload)
    assert alone.latency_seconds == pytest.approx(sum(layer.vectors for layer in layers) * 1.6e-6)
    assert alone.samples_per_second == pytest.approx(1 / (1024 * 1.6e-6))


@pytest.mark.parametrize("crossbars", [120, 500, 16128])
def test_copies_of_layers_are_the_best_that_fit(workload, crossbars):
    layers = ISAAC.layers(workload)
    copies = replication(layers, 1e-7, crossbars)
    assert sum(copy * layer.crossbars for copy, layer in zip(copies, layers, strict=True)) <= crossbars
    slowest = max(layer.vectors * layer.steps / copy for copy, layer in zip(copies, layers, strict=True))
    faster = [
        copy + (layer.vectors * layer.steps / copy > slowest * (1 - 1e-9))
        for copy, layer in zip(copies, layers, strict=True)
    ]
    assert sum(copy * layer.crossbars for copy, layer in zip(faster, layers, strict=True)) > crossbars


def test_a_network_that_is_too_large():
    layers = (Occupancy("big", 1280, 1280, 1, 10, 16, Array()),)
    with pytest.raises(SpokeshaveError) as refusal:
        replication(layers, 1e-7, 40)
    assert "takes 100 crossbars and the chip has 40: 2.5 times as many" in str(refusal.value)
    assert "up to 163,840 weights of 8 bits would fit" in str(refusal.value)
    assert "these are 409,600" in str(refusal.value)


def test_levels_and_signs_leave_no_word_line_empty():
    layer = trace(nn.Sequential(nn.Conv2d(3, 20, 3, bias=False)), torch.zeros(1, 3, 8, 8)).layers[0]
    for scheme in (FixedPoint(4), Polarized(8), Polarized(8) & FixedPoint(2)):
        assert used(layer, scheme, Array()) == used(layer, None, Array()) == (27, 20)
    assert used(
        layer, Intersection((CrossbarPruned(0.5, "filters", crossbar=5), FixedPoint(8))), Array()
    ) == (27, 10)


def test_pruning_by_crossbars_saves_them(workload):
    pruned = Plan(
        (Rule("layer3.*", CrossbarPruned(0.5, crossbar=128) & Polarized(8)), Rule("*", Polarized(8)))
    )
    dense, less = FORMS.cost(workload, POLARIZED), FORMS.cost(workload, pruned)
    assert FORMS.layers(workload, pruned)[-2].lines == 384
    assert less.energy_joules < dense.energy_joules
    assert less.samples_per_second > dense.samples_per_second
    assert less.area_mm2 == dense.area_mm2


def test_fewer_bits_of_input_cost_less(workload):
    usual, measured = (
        FORMS.cost(workload, POLARIZED),
        FORMS.cost(workload, POLARIZED, {"layer1.0.conv1": 5.0}),
    )
    assert measured.energy_joules < usual.energy_joules
    assert lockstep_bits(torch.tensor([[3, 1, 2, 6], [1, 1, 0, 0]]), Array(rows=16, rows_at_once=8)) == 2.5


def test_what_forms_cannot_use(workload):
    with pytest.raises(
        SpokeshaveError,
        match=r"forms cannot run conv1: its weights need Polarized\(8\), for a fragment has one sign",
    ):
        FORMS.cost(workload)
    assert FORMS.supports(Polarized(16), workload.layers[0]) is None
    assert "need Polarized(8)" in FORMS.supports(Polarized(4), workload.layers[0])
    assert ISAAC.supports(Polarized(4), workload.layers[0]) is None


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "[rows_at_once]\nvalue = 8",
            "[rows_at_once]\nvalue = 12",
            r"line \d+: rows_at_once.value contradicts itself: crossbar: rows_at_once must divide",
        ),
        (
            "[rows]\nvalue = 128",
            "[rows]\nvalue = 127.5",
            r"a whole number from 1 to 4096, not 127\.5",
        ),
        (
            'value = "polarized"',
            'value = "signed"',
            "encoding.value must be one of pairs, offset, polarized, not",
        ),
        (
            "[flipped]\nvalue = false",
            "[flipped]\nvalue = 0",
            "flipped.value must be one of true, false, not 0",
        ),
        (
            "[effective_bits]\nvalue = 11",
            "[effective_bits]\nvalue = 17",
            r"must be at most input_bits \(16\), not 17",
        ),
        ("[variation]\nvalue = 0.1", "[variation]\nvalue = -0.1", "must be a number of at least 0, not -0.1"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, old, new, sentence):
    from spokeshave.devices.catalogue import _files

    text = _files()["forms"].read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SpokeshaveError, match=sentence):
        load_device(str(path))


def test_every_figure_is_told_with_its_source():
    told = FORMS.describe()
    marks = sum(told.count(f"({status}: ") for status in ("seen", "recalled", "inferred"))
    assert marks == len(FORMS.figures) + len(FORMS.facts)
    assert "all crossbars: " in told
