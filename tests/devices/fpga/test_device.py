"""The ZCU102: costs that add up, resources, and what it refuses."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spokeshave.deployment import Cost
from spokeshave.devices import load_device
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.mapping import rows_by_format
from spokeshave.devices.fpga.resources import Resources, resources_of
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import trace

FILE = Path(__file__).parents[3] / "src/spokeshave/devices/modelled/zcu102.toml"
MIXED = MixedRows(FixedPoint(8), PowerOfTwo(4), 0.5)
LANES = Lanes(int8=2, shift=2)


def zcu102() -> FPGADevice:
    device = load_device("zcu102")
    assert isinstance(device, FPGADevice)
    return device


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 32))


EXAMPLE = torch.zeros(1, 3, 8, 8)


def plan(scheme: Scheme) -> Plan:
    return Plan((Rule("*", scheme),))


def test_cost_is_cycles_by_the_clock() -> None:
    device, workload = zcu102(), trace(network(), EXAMPLE)
    cost, mapped = device.cost(workload), device.mapped(workload)
    assert cost.kind == "modelled"
    assert cost.latency_seconds == pytest.approx(mapped.cycles / device.clock)
    assert sum(seconds for _, seconds in cost.by_layer) == pytest.approx(cost.latency_seconds)
    assert cost.weight_bytes == 3 * 9 * 16 + 16 * 64 * 32
    assert mapped.multiply_adds == workload.multiply_adds
    assert all(0 < layer.busy <= 1 for layer in mapped.layers)


@pytest.mark.parametrize(("scheme", "bits"), [(MIXED, 6), (PowerOfTwo(4), 4), (FixedPoint(4), 4), (None, 8)])
def test_weights_take_the_bits_of_their_format(scheme: Scheme | None, bits: int) -> None:
    device = zcu102().with_engine(Engine(Lanes(16, 16, 16), 32))
    cost = device.cost(trace(network(), EXAMPLE), plan(scheme) if scheme else None)
    assert cost.weight_bytes == (3 * 9 * 16 + 16 * 64 * 32) * bits // 8


def test_rows_of_two_formats_run_side_by_side() -> None:
    layer = trace(nn.Linear(512, 512), torch.zeros(196, 512)[None])
    device = zcu102().with_engine(Engine(Lanes(int8=32, shift=32), 32, load_bytes=64))
    dense, mixed = (device.mapped(layer, one).cycles for one in (None, plan(MIXED)))
    assert 1.8 < dense / mixed < 2.1


def test_steps_of_a_recurrent_layer_wait_for_each_other() -> None:
    workload = trace(nn.LSTM(32, 64, batch_first=True), torch.zeros(1, 20, 32))
    by_name = {work.layer.parameter: work for work in zcu102().works(workload)}
    assert (by_name["weight_hh_l0"].steps, by_name["weight_hh_l0"].count) == (True, 20)
    assert by_name["weight_ih_l0"].product.positions == 20
    assert zcu102().cost(workload).weight_bytes == 4 * 64 * (32 + 64)


def test_products_of_activations_count_their_heads() -> None:
    class Itself(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            heads = x.unflatten(2, (4, 16)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(heads, heads, heads)

    works = zcu102().works(trace(Itself(), torch.zeros(1, 10, 64)))
    assert [
        (work.count, work.product.rows, work.product.columns, work.product.positions) for work in works
    ] == [
        (4, (("int8", 10),), 16, 10),
        (4, (("int8", 16),), 10, 10),
    ]


def test_more_columns_take_more() -> None:
    sizes = [resources_of(Engine(Lanes(int8=16, shift=16), columns)) for columns in (16, 32, 64)]
    for less, more in pairwise(sizes):
        assert all(a < b for a, b in zip(less.values(), more.values(), strict=True))
    assert Resources(1, 2, 3, 4).shares(Resources(2, 2, 2, 2))["ff"] == 1.5


def test_an_engine_too_large_says_what_would_fit() -> None:
    large = Engine(Lanes(int8=128), columns=64, depth=32, positions=16)
    with pytest.raises(SpokeshaveError, match=r"zcu102: the engine needs 4,160 DSP, 2\.06 times") as refused:
        zcu102().with_engine(large)
    columns = int(str(refused.value).split("columns=")[1].split()[0])
    assert zcu102().with_engine(replace(large, columns=columns)).misfit() is None
    assert replace(zcu102(), engine=replace(large, columns=columns + 1)).misfit() is not None


def test_an_engine_of_absurd_size_is_refused_at_once() -> None:
    with pytest.raises(SpokeshaveError, match=r"times the .*; with columns=\d+ in place of 1000"):
        zcu102().with_engine(replace(zcu102().engine, columns=10**30))


def test_the_size_at_fault_is_named() -> None:
    deep = replace(zcu102().engine, depth=10**9)
    with pytest.raises(
        SpokeshaveError, match=r"BRAM, .*; with depth=\d+ in place of 1000000000 it"
    ) as refused:
        zcu102().with_engine(deep)
    depth = int(str(refused.value).split("depth=")[1].split()[0])
    assert zcu102().with_engine(replace(deep, depth=depth)).misfit() is None
    with pytest.raises(SpokeshaveError, match="take less of several of columns, depth"):
        zcu102().with_engine(replace(deep, positions=10**9))
    with pytest.raises(SpokeshaveError, match="makes it fit: take fewer lanes"):
        zcu102().with_engine(replace(deep, lanes=Lanes(int8=10**7)))


@pytest.mark.parametrize(
    ("bandwidth", "advice"),
    [
        (1e6, r"no engine fits, for a byte in and one out a cycle at this clock are 300 Mbyte/s"),
        (1e9, r"load_bytes=1 with outputs=4 would fit"),
    ],
)
def test_slow_memory_is_told_what_fits_it(bandwidth: float, advice: str) -> None:
    slow = zcu102().with_figures(bandwidth=bandwidth)
    assert advice in str(slow.misfit())
    if "outputs=4" in advice:
        assert replace(slow, engine=replace(slow.engine, load_bytes=1, outputs=4)).misfit() is None


@pytest.mark.parametrize("counts", [{"uram": 3}, {"dsp": float("nan")}, {"dsp": -1}])
def test_budgets_that_mean_nothing(counts: dict[str, float]) -> None:
    with pytest.raises(SpokeshaveError, match=r"with_budget: a count must be 'dsp'|must be 0 or more, not"):
        zcu102().with_budget(**counts)


def test_other_engines_are_held_to_the_dsp_blocks() -> None:
    zcu102().check_dsp("an engine", 2016)
    with pytest.raises(
        SpokeshaveError, match=r"an engine needs 4,000 DSP, 1\.98 times the 2,016 .* of 2,520"
    ):
        zcu102().check_dsp("an engine", 4000)


def test_weights_beyond_the_memory_are_told_in_their_own_unit() -> None:
    small = zcu102().with_figures(memory=500)
    with pytest.raises(
        SpokeshaveError, match=r"33\.2 kbyte, 66\.4 times the memory of zcu102; 500 byte would"
    ):
        small.cost(trace(network(), EXAMPLE))


def test_more_bytes_than_memory_gives_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match=r"GB/s, .* times what memory gives; load_bytes=86 would fit"):
        zcu102().with_engine(Engine(Lanes(int8=16), columns=32, load_bytes=200))


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (MIXED, None),
        (Binary(), None),
        (PowerOfTwo(4), None),
        (PowerOfTwo(5), "shift by up to 6, and powers of two of 5 bits need 14"),
        (FixedPoint(10), "weights of 8 bits, not 10"),
        (Codebook(4), "no multiples of a scale"),
        (BlockColumnRow(0.5, (8, 8)), "computes with the zeros too"),
    ],
)
def test_schemes(scheme: Scheme, reason: str | None) -> None:
    workload = trace(network(), EXAMPLE)
    found = zcu102().supports(scheme, workload.layers[1])
    assert (found is None) if reason is None else (found is not None and reason in found)
    if reason is not None:
        with pytest.raises(SpokeshaveError, match=f"zcu102 cannot run 0 under .*{reason}"):
            zcu102().cost(workload, plan(scheme))


def test_rows_of_parts() -> None:
    assert rows_by_format(MixedRows(FixedPoint(8), PowerOfTwo(4), 0.4, parts=3), 30, LANES) == (
        ("int8", 18),
        ("shift", 12),
    )
    assert rows_by_format(MixedRows(FixedPoint(8), FixedPoint(6), 0.4), 30, LANES) == (("int8", 30),)


def test_a_file_that_contradicts_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE.read_text().replace("value = 2520", "value = 252"))
    with pytest.raises(SpokeshaveError, match=r"dsp.value contradicts itself: .* times the") as refused:
        load_device(str(path))
    line = int(str(refused.value).split("mine.toml, line ")[1].split(":")[0])
    assert path.read_text().splitlines()[line - 1] == "value = 252"


@pytest.mark.parametrize(("kind", "resource"), [("int8", "dsp"), ("shift", "lut")])
def test_a_misfit_tells_both_lines(tmp_path: Path, kind: str, resource: str) -> None:
    """That of the chip and that of the lanes which take most of it."""
    path = tmp_path / "mine.toml"
    path.write_text(FILE.read_text().replace(f"[{kind}]\nvalue = 32", f"[{kind}]\nvalue = 640"))
    with pytest.raises(
        SpokeshaveError, match=rf"{resource}.value contradicts itself: .* times the"
    ) as refused:
        load_device(str(path))
    line = int(str(refused.value).split(f"{kind}.value, line ")[1].split(",")[0])
    assert path.read_text().splitlines()[line - 1] == "value = 640"


def test_the_deployment_computes_in_whole_numbers() -> None:
    trained, scheme = network(), plan(MIXED)
    begin(OneShot(), trained, scheme).finish()
    images = torch.randn(32, 3, 8, 8)
    deployment = zcu102().deploy(trained, EXAMPLE, scheme, [images])
    assert isinstance(deployment.cost, Cost)
    assert (deployment.manifest.device, deployment.manifest.form.rescale) == ("zcu102", "multiplier")
    with torch.no_grad():
        close = torch.nn.functional.cosine_similarity(deployment(images), trained(images))
    assert float(close.min()) > 0.999
    with pytest.raises(SpokeshaveError, match="needs calibration data"):
        zcu102().deploy(trained, EXAMPLE, scheme)


def test_sums_that_overflow_are_refused() -> None:
    narrow = zcu102().with_engine(replace(zcu102().engine, accumulator_bits=16))
    with pytest.raises(SpokeshaveError, match=r"0: its sums .* takes 20 bits; accumulators have 16"):
        narrow.deploy(network(), EXAMPLE, None, [torch.randn(4, 3, 8, 8)])


def test_figures_are_told_with_sources() -> None:
    told = zcu102().describe()
    assert "dsp: 2520 (recalled: vendor's product table" in told
    assert "the engine takes" in told
