"""Plain C, built and run: equal to PyTorch, safe with damaged weights, free of global state."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tests.compiler.artifact.artifact_build import build, run, skip_unless_runnable
from torch.utils._pytree import tree_leaves

from spokeshave.compiler import generate
from spokeshave.compiler.artifact import build_example, write_artifact
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.isa import instruction_set

RELATIVE_TOLERANCE = 1e-4
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WRONG_CPU = 4


def check(program: Path, network: torch.nn.Module, inputs: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        expected = tree_leaves(network(*inputs))
    results = run(program, inputs, [tuple(tensor.shape[1:]) for tensor in expected])
    for result, reference in zip(results, expected, strict=True):
        assert result.shape == reference.shape
        assert (result - reference).abs().max() <= RELATIVE_TOLERANCE * reference.abs().max()


def test_the_example_equals_pytorch(case, isa, tmp_path):
    network, inputs = case
    write_artifact(generate(network, tuple(inputs), isa=isa), tmp_path)
    check(build(tmp_path, *instruction_set(isa).c_flags), network, inputs)


def test_without_its_flags_the_code_is_still_right(case, tmp_path):
    network, inputs = case
    write_artifact(generate(network, tuple(inputs), isa="avx2"), tmp_path)
    check(build(tmp_path, "-Wno-psabi"), network, inputs)


def test_sanitizers_find_nothing_and_weights_can_be_embedded(case, tmp_path):
    network, inputs = case
    write_artifact(generate(network, tuple(inputs), isa="portable"), tmp_path, name="other", embed=True)
    check(build(tmp_path, *SANITIZERS, sources=("main.c", "other.c")), network, inputs)


def test_make_builds_the_example(artifact):
    subprocess.run(
        ["make", f"CC={find_compiler().command[0]}"], cwd=artifact, check=True, capture_output=True
    )
    finished = subprocess.run(
        [artifact / "example"], cwd=artifact, capture_output=True, text=True, check=True
    )
    assert finished.stdout.startswith("1 samples, ")


def test_wrong_input_files_are_one_sentence(artifact):
    program = build(artifact)
    (artifact / "short").write_bytes(bytes(10))
    for arguments, code in ((["a"], 64), (["short", "out"], 65), (["missing", "out"], 65)):
        finished = subprocess.run(
            [program, *arguments], cwd=artifact, capture_output=True, text=True, check=False
        )
        assert finished.returncode == code
        assert len(finished.stderr.splitlines()) == 1


def test_every_mistake_has_its_status(artifact):
    data = (artifact / "weights.bin").read_bytes()
    (artifact / "cut.bin").write_bytes(data[: len(data) // 2])
    (artifact / "long.bin").write_bytes(data + b"\0")
    (artifact / "flipped.bin").write_bytes(data[:-70] + bytes([data[-70] ^ 1]) + data[-69:])
    (artifact / "empty.bin").write_bytes(b"")
    test = str(Path(__file__).with_name("mistakes.c"))
    program = build(artifact, *SANITIZERS, f"-I{artifact}", sources=(test, "model.c"))
    finished = subprocess.run([program], cwd=artifact, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_two_networks_in_one_cpp_program(generated, tmp_path):
    for name in ("face", "hand"):
        write_artifact(generated, tmp_path / name, name)
    test = Path(__file__).with_name("two_networks.cpp")
    command = [*find_compiler().command, "-O1", "-Iface", "-Ihand"]
    for source in (str(test), "face/face.c", "hand/hand.c"):
        subprocess.run([*command, "-Wall", "-Wextra", "-Werror", "-c", source], cwd=tmp_path, check=True)
    objects = ("two_networks.o", "face.o", "hand.o")
    subprocess.run([*command, *objects, "-o", "program", "-lm", "-lpthread"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "program"], cwd=tmp_path, check=True)


@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils' nm is not installed")
def test_there_is_no_global_state(artifact):
    subprocess.run([*find_compiler().command, "-O1", "-fno-pie", "-c", "model.c"], cwd=artifact, check=True)
    listing = subprocess.run(
        ["nm", "model.o"], cwd=artifact, capture_output=True, text=True, check=True
    ).stdout
    kinds = {line.split()[-2]: line for line in listing.splitlines()}
    assert not {kind: line for kind, line in kinds.items() if kind in "bBdDsSC"}
    public = [line.split()[-1] for line in listing.splitlines() if line.split()[-2] == "T"]
    assert all(name.removeprefix("_").startswith("model_") for name in public)


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="no qemu-x86_64: apt-get install qemu-user")
@pytest.mark.parametrize("name", ["avx2", "avx512", "avx512_bf16"])
def test_a_lesser_cpu_gets_a_status_not_an_illegal_instruction(name, tmp_path):
    torch.manual_seed(0)
    flags = instruction_set(name).c_flags
    write_artifact(generate(torch.nn.Linear(40, 30), torch.zeros(1, 40), isa=name), tmp_path)
    subprocess.run([*find_compiler().command, "-O3", *flags, "-c", "model.c"], cwd=tmp_path, check=True)
    program = build(tmp_path, "-static", sources=("main.c", "model.o"))
    finished = subprocess.run(
        ["qemu-x86_64", "-cpu", "Nehalem", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == WRONG_CPU, finished.stderr
    assert f"this CPU lacks instructions that the network was built with ({name})" in finished.stderr


@pytest.mark.slow
def test_a_lesser_arm_cpu_gets_a_status(tmp_path):
    skip_unless_runnable("neon_i8mm")
    write_artifact(generate(torch.nn.Linear(40, 30), torch.zeros(1, 40), isa="neon_i8mm"), tmp_path)
    program = build_example(tmp_path)
    codes = [
        subprocess.run(
            ["qemu-aarch64", "-cpu", cpu, program], cwd=tmp_path, capture_output=True, check=False
        ).returncode
        for cpu in ("cortex-a57", "max")
    ]
    assert codes == [WRONG_CPU, 0]
