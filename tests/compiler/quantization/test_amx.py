"""AMX kernels, emulated: integers bit for bit, bfloat16 like its other kernels; real ones interpreted."""

import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import run_program
from tests.compiler.emulated_amx import emulated_amx
from tests.compiler.own_process import SAMPLES, run_in_own_process
from tests.compiler.quantization import test_bfloat16, test_kernels
from tests.compiler.quantization.random_layers import has_kernel, joined, layers
from tests.compiler.test_equivalence import Attention, Convolutions, pruned
from tests.compiler.test_sanitizers import integer_network, odd_convolutions

from spokeshave.compiler import compile_network
from spokeshave.compiler.artifact import write_artifact
from spokeshave.compiler.build import build_library
from spokeshave.compiler.compile import generate, precision_settings
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.isa import amx_permitted, best_here, cpu_features, instruction_set, runs_here
from spokeshave.compiler.kernels.packing import pack_panels
from spokeshave.compiler.kernels.tiles import tile_panels
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.quantization.bfloat16 import BFloat16, to_bfloat16
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.schedule import AMX_FORMS, Product, forms, schedule_for
from spokeshave.schemes.block_column_row import BlockColumnRow

HARDWARE = {"amx_tile", "amx_int8", "amx_bf16"}


def by_amx(product, isa, rows):
    """AMX wherever there is a choice."""
    chosen = [form for form in forms(product, isa) if form.amx and form.rows == rows]
    return chosen[-1] if chosen else schedule_for(product, isa)


def results(graph, inputs, rows):
    isa = emulated_amx()
    program = lower(graph, isa, {}, partial(by_amx, isa=isa, rows=rows))
    assert any(getattr(kernel, "amx", False) for kernel in program.kernels)
    return run_program(program, graph, inputs, isa)


def few_examples(most):
    cases = st.lists(st.tuples(layers(), st.sampled_from([0.0, 0.1, 0.5, 1.0])), min_size=most, max_size=most)
    health = [HealthCheck.function_scoped_fixture]
    return lambda test: settings(
        max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=health
    )(given(cases=cases)(test))


@pytest.mark.parametrize("rows", [rows for rows, _ in AMX_FORMS])
@few_examples(12)
def test_integers_equal_the_executor_bit_for_bit(rows, cases):
    graphs, inputs = [], []
    for case, density in cases:
        operation, weights, read = test_kernels.random_case(case, density)
        graph = test_kernels.quantized_graph(operation, weights, case[2], tuple(read[-1][:1].shape))
        if has_kernel(graph) and (
            operation.layer.activation is None or operation.layer.activation.kind != "hardswish"
        ):
            graphs, inputs = [*graphs, graph], inputs + read
    graph = joined(graphs)
    assert all(map(torch.equal, results(graph, inputs, rows), run_reference(graph, inputs)))


@pytest.mark.parametrize("rows", [rows for rows, _ in AMX_FORMS])
@few_examples(12)
def test_bfloat16_is_close_to_the_reference(rows, cases):
    graphs, inputs = [], []
    for case, density in cases:
        graph, read = test_bfloat16.random_case(case, density)
        if has_kernel(graph):
            graphs, inputs = [*graphs, graph], inputs + read
    graph = joined(graphs)
    expected = run_reference(graph, inputs)
    for one, result, reference in zip(graphs, results(graph, inputs, rows), expected, strict=True):
        assert test_bfloat16.is_close(one, result, reference)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("kind", [Convolutions, Attention])
def test_whole_networks(kind, precision):
    network, plan = pruned(kind, BlockColumnRow(0.5, (16, 8), column_group=4))
    batch = torch.randn(5, *kind.example)
    settings = precision_settings(precision, [batch])
    wanted = compile_network(network, batch, plan, precision=precision, calibration=[batch])
    generated = generate(network, batch, plan, "avx512_amx", precision=settings)
    assert "_amx(" in generated.source
    library = build_library(generated.source, emulated_amx())
    here = replace(generated.manifest, isa=best_here().name)
    deployment = NativeDeployment(replace(generated, manifest=here), library)
    for threads in (1, 2):
        deployment.threads = threads
        difference = (deployment(batch) - wanted(batch)).abs().max()
        assert difference <= 0.01 * wanted(batch).abs().max()


@pytest.mark.parametrize("rows", [16, 32])
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_packed_columns_fill_whole_tiles(rows, density):
    generator = np.random.default_rng(0)
    matrix = (generator.integers(1, 9, (70, 45)) * (generator.random((70, 45)) < density)).astype(np.int32)
    matrix[:rows] = 0
    offsets = 7 * np.arange(45)
    tiled = tile_panels(pack_panels(matrix, rows), offsets)
    packed = tiled.panels
    assert not (packed.column_start % 16).any()
    assert (np.diff(packed.column_start) > 0).all()
    assert len(packed.columns) * rows == len(packed.weights)
    rebuilt = np.zeros_like(matrix)
    tiles = packed.weights.reshape(-1, rows, 16)
    for panel in range(packed.count):
        members = packed.row_numbers[panel * rows : (panel + 1) * rows]
        for first in range(packed.column_start[panel], packed.column_start[panel + 1], 16):
            columns, stride = packed.columns[first : first + 16], tiled.strides[first // 16]
            assert not stride or (np.diff(offsets[columns]) == stride).all()
            block = np.zeros((rows, matrix.shape[1]), np.int32)
            np.add.at(block, (slice(None), columns), tiles[first // 16])
            for row, values in zip(members[: len(set(members))], block, strict=False):
                rebuilt[row] += values
    assert (rebuilt == matrix).all()
    assert tiled.strides.any() or density < 1


def test_dense_convolutions_read_every_tile_where_it_lies():
    words, taps = 32, 9
    offsets = (100 * np.arange(words)[:, None] + np.arange(taps)).ravel()
    tiled = tile_panels(pack_panels(np.ones((32, words * taps), np.int32), 32), offsets, taps)
    assert (tiled.strides == 100).all()
    assert sorted(tiled.panels.columns) == list(range(words * taps))


def test_many_rows_of_words_go_to_tiles_and_floats_do_not():
    isa = instruction_set("avx512_amx")
    product = Product(np.ones((64, 64), bool), 1, (), 64, 12, "uint8", 4)
    assert schedule_for(product, isa).amx
    assert not schedule_for(product, instruction_set("avx512_bf16")).amx
    assert not any(form.amx for form in forms(Product(product.kept, 1, (), 64, 12), isa))


def integer_graph():
    layer = test_kernels.Quantized(
        test_bfloat16.Linear("w", None), "s", test_kernels.READ, None, test_kernels.WRITTEN
    )
    weights = {"w": torch.ones(32, 64, dtype=torch.int8), "s": torch.ones(32)}
    return test_kernels.quantized_graph(layer, weights, (1, 40, 64))


@pytest.mark.skipif(which("objdump") is None, reason="objdump is not installed")
def test_the_real_instructions_assemble():
    isa = instruction_set("avx512_amx")
    linear = test_bfloat16.Linear("w", None)
    weights = {"w": torch.ones(32, 64, dtype=torch.bfloat16)}
    rounded = test_bfloat16.rounded_graph(
        test_bfloat16.Rounded(linear, False, True), weights, (1, 40, 64), (1, 40, 32)
    )
    program = lower(joined([integer_graph(), rounded]), isa, {})
    library = build_library(emit_source([program], [plan_arena(program)], isa), isa)
    text = subprocess.run(["objdump", "-d", library], capture_output=True, text=True, check=True).stdout
    for instruction in ("ldtilecfg", "tileloadd", "tdpbsud", "tdpbf16ps", "tilestored", "tilerelease"):
        assert instruction in text


@pytest.mark.skipif(not runs_here(instruction_set("avx512_bf16")), reason="this CPU lacks AVX-512 with BF16")
@pytest.mark.parametrize("precision", ["integers", "bfloat16"])
def test_the_real_instructions_do_what_the_manual_says(precision, tmp_path):
    """On a CPU without AMX a handler of illegal instructions does their work; workers block signals, so one thread."""
    isa = instruction_set("avx512_amx")
    graph = integer_network() if precision == "integers" else to_bfloat16((odd_convolutions(),), isa)[0][0]
    program = lower(graph, isa, {}, partial(by_amx, isa=isa, rows=32))
    assert any(getattr(kernel, "amx", False) for kernel in program.kernels)
    x = torch.randn(SAMPLES, 3, 17, 15)
    interpreter = () if amx_permitted() else (Path(__file__).parents[1] / "interpreted_tiles.c",)
    results = run_in_own_process(
        graph, program, x, isa, ("-DSPOKESHAVE_SINGLE_THREADED",), tmp_path, interpreter
    )
    for result, reference in zip(results, run_reference(graph, [x]), strict=True):
        tolerance = 0.0 if precision == "integers" else 0.01
        assert (result - reference).abs().max() <= tolerance * reference.abs().max()


def test_a_cpu_without_tiles_is_told_so_and_is_not_permitted():
    if cpu_features() >= HARDWARE:
        pytest.skip("this CPU has AMX")
    assert not amx_permitted()
    assert not runs_here(instruction_set("avx512_amx"))


def test_plain_c_asks_for_permission(tmp_path):
    torch.manual_seed(0)
    generated = generate(
        torch.nn.Conv2d(32, 32, 1), torch.randn(1, 32, 9, 9), isa="avx512_amx", precision=BFloat16()
    )
    write_artifact(generated, tmp_path / "c")
    text = (tmp_path / "c" / "model.c").read_text()
    assert "if (!tiles_permitted()) return 0;" in text
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "model.c", "-o", "model.o"]
    flags = instruction_set("avx512_amx").c_flags
    subprocess.run([*command, *flags], cwd=tmp_path / "c", check=True)
