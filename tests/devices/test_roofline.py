from dataclasses import replace

import pytest
import torch
from torch import nn

from spokeshave.devices import device_names, load_device
from spokeshave.devices.assignment import packed_size
from spokeshave.devices.roofline import ways
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.workload import Layer, Workload, trace

GPU, CPU = load_device("galaxy-s10-gpu"), load_device("galaxy-s10-cpu")
EIGHTH = BlockColumnRow(1 - 1 / 8, block=(8, 64))


def linear(rows, columns, positions, name="layer"):
    return Layer(
        name=name,
        kind="linear",
        rows=rows,
        columns=columns,
        positions=positions,
        input_shape=(1, positions, columns),
        output_shape=(1, positions, rows),
        dtype="float32",
        parameter=f"{name}.weight",
        weight_shape=(rows, columns),
    )


def with_value(device, figure, factor):
    old = getattr(device, figure)
    return replace(device, **{figure: replace(old, value=old.value * factor)})


def test_a_compute_bound_layer_costs_what_the_formula_says():
    flop = 2 * 512 * 256 * 1000
    assert GPU.seconds(linear(512, 256, 1000), None) == pytest.approx(5.2e-6 + flop / (0.183 * 899e9))


def test_a_memory_bound_layer_costs_what_the_formula_says():
    assert CPU.seconds(linear(512, 256, 1), None) == pytest.approx(7.9e-6 + 4 * 512 * 256 / 34.1e9)


def test_activations_count_when_they_do_not_fit_the_cache():
    moved = 4 * (4 * 8 + (4 + 8) * 50_000)
    assert CPU.seconds(linear(4, 8, 50_000), None) == pytest.approx(7.9e-6 + moved / 34.1e9)
    fitting = with_value(CPU, "cache", 2).seconds(linear(4, 8, 50_000), None)
    assert fitting == pytest.approx(7.9e-6 + 2 * 4 * 8 * 50_000 / (0.376 * 219e9))


def test_a_pruned_layer_moves_and_multiplies_what_is_kept():
    layer = linear(512, 1024, 1000)
    kept, index_bytes = packed_size((512, 1024), EIGHTH)
    assert kept == 512 * 1024 // 8
    assert 0 < index_bytes < kept
    flop = 2 * kept * 1000
    assert GPU.seconds(layer, EIGHTH) == pytest.approx(5.2e-6 + flop / (0.142 * 899e9))
    cost = GPU.cost(Workload((layer,)), Plan((Rule("layer", EIGHTH),)))
    assert cost.weight_bytes == 2 * kept + index_bytes


@pytest.mark.parametrize("positions", [1, 1000])
@pytest.mark.parametrize("scheme", [None, EIGHTH, Unstructured(0.875)])
def test_better_figures_never_cost_more(positions, scheme):
    layer = linear(512, 1024, positions)
    before = GPU.seconds(layer, scheme)
    faster = [with_value(GPU, figure, 2).seconds(layer, scheme) for figure in ("peak", "bandwidth")]
    assert all(seconds <= before for seconds in faster)
    assert min(faster) < before
    assert with_value(GPU, "launch", 2).seconds(layer, scheme) == pytest.approx(before + 5.2e-6)


def test_a_denser_layer_never_costs_less():
    layer = linear(512, 1024, 100)
    seconds = [GPU.seconds(layer, BlockColumnRow(sparsity)) for sparsity in (0.98, 0.9, 0.5, 0.1)]
    assert seconds == sorted(seconds)


def test_costs_of_a_network_add_up_and_are_marked_as_modelled():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32 * 144, 10)
    )
    workload = trace(network, torch.zeros(1, 3, 16, 16))
    cost = CPU.cost(workload)
    assert cost.kind == CPU.kind == "modelled"
    assert "galaxy-s10-cpu.toml" in cost.source
    assert [name for name, _ in cost.by_layer] == ["0", "2", "4"]
    assert cost.latency_seconds == pytest.approx(sum(seconds for _, seconds in cost.by_layer))
    assert cost.energy_joules == pytest.approx(1.9 * cost.latency_seconds)
    assert cost.weight_bytes == 4 * sum(layer.weight_count for layer in workload.layers)
    assert replace(CPU, power=None).cost(workload).energy_joules is None
    with pytest.raises(SpokeshaveError, match=r"times the memory of galaxy-s10-cpu; 8 Gbyte would fit"):
        CPU.cost(Workload((linear(65_536, 65_536, 1),)))


def test_a_weight_used_twice_is_stored_once():
    layer = linear(64, 64, 10)
    twice = CPU.cost(Workload((layer, layer)))
    assert twice.weight_bytes == 4 * 64 * 64
    assert twice.latency_seconds == pytest.approx(2 * CPU.seconds(layer, None))


RECALLED = {  # RTMobile, arXiv 2002.11474: microseconds of 30 steps of its GRU, as recalled, by compression
    "galaxy-s10-gpu": {1: 3590.12, 10: 495.26, 29: 233.89, 80: 130.00, 245: 81.64},
    "galaxy-s10-cpu": {1: 7130.00, 10: 1210.20, 29: 464.73, 80: 218.01, 245: 151.28},
}


@pytest.mark.parametrize("device", [GPU, CPU], ids=lambda device: device.name)
def test_the_table_that_the_figures_come_from_is_reproduced(device):
    inputs = [linear(1024, columns, 30, f"{gate}{columns}") for columns in (39, 1024) for gate in "hzr"]
    states = [linear(1024, 1024, 30, f"u{layer}{gate}") for layer in "01" for gate in "hzr"]
    workload = Workload((*inputs, *states))
    assert sum(layer.weight_count for layer in workload.layers) == 9_556_992
    for rate, microseconds in RECALLED[device.name].items():
        plan = None if rate == 1 else Plan((Rule("*", BlockColumnRow(1 - 1 / rate, block=(32, 39))),))
        assert device.cost(workload, plan).latency_seconds * 1e6 == pytest.approx(microseconds, rel=0.15)


def test_a_scheme_without_an_efficiency_is_not_supported():
    device = replace(GPU, efficiency={"dense": GPU.efficiency["dense"]}, integer_speed=None)
    layer = linear(64, 64, 1)
    assert GPU.supports(EIGHTH, layer) is None
    assert GPU.supports(Unstructured(0.5), layer) is None
    assert (
        device.supports(EIGHTH, layer)
        == "galaxy-s10-gpu has no efficiency for block_column_row; it has some for dense"
    )
    with pytest.raises(
        SpokeshaveError, match=r"cannot run layer under BlockColumnRow.*: galaxy-s10-gpu has no eff"
    ):
        device.seconds(layer, EIGHTH)


@pytest.mark.parametrize("positions", [1, 4000])
def test_weights_of_bytes_move_a_quarter_and_multiply_faster(positions):
    layer, device = linear(512, 1024, positions), CPU.with_integers()
    eight = device.seconds(layer, FixedPoint(8)) - CPU.launch.value
    operations = 2 * 512 * 1024 * positions
    levels = FixedPoint(8).pack(FixedPoint(8).project(torch.randn(512, 1024))).nbytes
    activations = (512 + 1024) * positions
    moved = levels + (activations if activations > CPU.cache.value else 0)
    assert eight == pytest.approx(max(operations / (4 * 0.376 * 219e9), moved / 34.1e9), rel=0.01)
    assert device.seconds(layer, EIGHTH & FixedPoint(8)) < min(
        device.seconds(layer, EIGHTH), device.seconds(layer, FixedPoint(8))
    )


def test_integers_need_a_speed_and_few_bits():
    layer = linear(64, 64, 1)
    assert "no efficiency for fixed_point of 12 bits" in CPU.supports(FixedPoint(12), layer)
    assert "no efficiency for fixed_point" in replace(CPU, integer_speed=None).supports(FixedPoint(8), layer)
    assert "no efficiency for power_of_two" in CPU.supports(EIGHTH & PowerOfTwo(4), layer)


def test_code_for_a_phone_is_called_here_and_saved_as_c(tmp_path):
    network, example = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), torch.randn(5, 8)
    deployment = CPU.deploy(network, example)
    with torch.inference_mode():
        torch.testing.assert_close(deployment(example), network(example))
    assert deployment.cost == CPU.cost(trace(network, example))
    deployment.save(tmp_path / "phone")
    assert "neon" in (tmp_path / "phone" / "README.md").read_text()
    assert (tmp_path / "phone" / "model.c").is_file()


def test_code_computes_in_float32_and_is_charged_so():
    """Weights of eight bits are as slow as dense ones there, and stay smaller."""
    network, example = nn.Linear(256, 256), torch.randn(1, 512, 256)  # bound by arithmetic
    plan = Plan((Rule("weight", FixedPoint(8)),))
    workload = trace(network, example)
    cost = CPU.deploy(network, example, plan).cost
    assert cost == CPU.cost(workload, plan)
    assert cost.latency_seconds == pytest.approx(CPU.cost(workload).latency_seconds)
    assert cost.weight_bytes < CPU.cost(workload).weight_bytes
    assert "in floating point" in cost.source


def test_integers_that_no_code_uses_stand_beside_the_device():
    workload = Workload((linear(256, 256, 512),))
    plan = Plan((Rule("layer", FixedPoint(8)),))
    own, could = ways(CPU, workload, plan)
    assert (own, could.name, could.code) == (CPU, "galaxy-s10-cpu, integers", None)
    assert could.cost(workload, plan).latency_seconds < own.cost(workload, plan).latency_seconds
    assert ways(CPU, workload, None) == (CPU,)
    assert ways(GPU, workload, plan) == (GPU,)  # whose integers are no faster


@pytest.mark.parametrize("name", [name for name in device_names() if name.startswith(("galaxy", "rasp"))])
def test_devices_of_one_kind_are_costed_alike(name):
    device = load_device(name)
    layers = (linear(256, 256, 64),)
    dense, pruned = (device.cost(Workload(layers), plan) for plan in (None, Plan((Rule("layer", EIGHTH),))))
    assert pruned.latency_seconds < dense.latency_seconds
    assert pruned.energy_joules < dense.energy_joules


def test_a_cost_model_runs_nothing():
    assert GPU.deployment == ""
    with pytest.raises(SpokeshaveError, match="galaxy-s10-gpu is a cost model, which cannot run networks"):
        GPU.deploy(nn.Linear(2, 2), torch.zeros(1, 2), None)


def test_every_figure_is_told_with_its_source():
    text = GPU.describe()
    assert text.startswith("galaxy-s10-gpu (modelled)")
    for name, figure in GPU.figures().items():
        readable = name.replace("_", " ")
        (line,) = [line for line in text.splitlines() if line.startswith(f"{readable}: ")]
        assert line.endswith(f"({figure.status}: {figure.source})")
    assert "bandwidth: 34.1 Gbyte/s (seen" in text
