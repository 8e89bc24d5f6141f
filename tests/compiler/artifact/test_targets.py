"""Plain C for other CPUs: built by a cross compiler, run under an emulator or as WebAssembly, equal to PyTorch."""

import shutil

import pytest
import torch
from tests.compiler.artifact.artifact_build import skip_unless_runnable
from torch.utils._pytree import tree_leaves

from spokeshave.compiler import compile_network, generate, isa
from spokeshave.compiler.artifact import (
    build_example,
    program,
    run_as_c,
    run_example,
    why_not_checked,
    write_artifact,
)
from spokeshave.compiler.artifact.tables import contents
from spokeshave.compiler.isa import instruction_set
from spokeshave.errors import SpokeshaveError

RELATIVE_TOLERANCE = 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neon", "wasm", "portable"])
def test_the_example_equals_pytorch(case, name):
    skip_unless_runnable(name)
    network, inputs = case
    generated = generate(network, tuple(inputs), isa=name)
    run = run_as_c(generated, inputs)
    with torch.inference_mode():
        expected = tree_leaves(network(*inputs))
    for result, reference in zip(run.outputs, expected, strict=True):
        assert result.shape == reference.shape
        assert (result - reference).abs().max() <= RELATIVE_TOLERANCE * reference.abs().max()
    assert run.runner == {"neon": "qemu-aarch64", "wasm": "wasmtime", "portable": "this CPU"}[name]
    assert run.milliseconds >= 0
    assert run.timed == (name != "neon")


@pytest.mark.slow
def test_a_program_that_fails_is_one_sentence(generated, tmp_path):
    skip_unless_runnable("wasm")
    for name in ("wasm", "portable"):
        folder = tmp_path / name
        write_artifact(generate(torch.nn.Linear(2, 2), torch.zeros(1, 2), isa=name), folder)
        built = build_example(folder)
        (folder / "weights.bin").write_bytes(b"damaged")
        with pytest.raises(
            SpokeshaveError, match="ended with 3: cannot create the network: the weights are damaged"
        ):
            run_example(built, instruction_set(name), [torch.zeros(1, 2)], contents(generated).outputs)


@pytest.mark.parametrize("name", ["neon", "wasm"])
def test_another_kind_of_cpu_is_no_deployment(name):
    with pytest.raises(SpokeshaveError, match=f"{name} cannot run here: it is for .*, this machine is"):
        compile_network(torch.nn.Linear(2, 2), torch.zeros(1, 2), isa=name)


def test_what_is_missing_is_named_with_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "zig_compiler", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert why_not_checked(instruction_set("wasm")) == (
        "there is no compiler for wasm32: pip install 'spokeshave[wasm]'"
    )
    monkeypatch.setattr(isa.platform, "machine", lambda: "riscv64")
    assert "apt-get install qemu-user" in (why_not_checked(instruction_set("neon")) or "")
    assert "nothing is known that runs x86_64 code" in (why_not_checked(instruction_set("avx2")) or "")
    write_artifact(generate(torch.nn.Linear(2, 2), torch.zeros(1, 2), isa="neon"), tmp_path)
    with pytest.raises(SpokeshaveError, match="cannot be run here: there is no compiler for aarch64"):
        build_example(tmp_path)
