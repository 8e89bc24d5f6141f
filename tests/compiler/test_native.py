"""Deployments: saving, loading, damaged folders, wrong inputs, threads and memory."""

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from spokeshave.compiler import NativeDeployment, compile_network, isa, load_deployment
from spokeshave.compiler.manifest import LIBRARY, MANIFEST, SOURCE, WEIGHTS, document_digest
from spokeshave.errors import SpokeshaveError


@pytest.fixture(scope="module")
def deployment() -> NativeDeployment:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    return compile_network(network, torch.randn(1, 3, 6, 6))


@pytest.fixture
def saved(deployment: NativeDeployment, tmp_path: Path) -> Path:
    deployment.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_saved_and_loaded_is_the_same(deployment, saved):
    x = torch.randn(3, 3, 6, 6)
    assert torch.equal(load_deployment(saved)(x), deployment(x))
    assert {path.name for path in saved.iterdir()} == {MANIFEST, SOURCE, WEIGHTS, LIBRARY}


def test_saving_again_replaces_a_deployment_but_nothing_else(deployment, saved, tmp_path):
    deployment.save(saved)
    load_deployment(saved)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(SpokeshaveError, match="holds something else"):
        deployment.save(other)
    assert (other / "thesis.tex").read_text() == "years of work"


def rewrite(saved, change) -> None:
    """Change what a manifest says, and its digest with it."""
    document = json.loads((saved / MANIFEST).read_text())
    document.pop("sha256")
    changed = change(document)
    if isinstance(changed, dict):
        changed = changed | {"sha256": document_digest(changed)}
    (saved / MANIFEST).write_text(json.dumps(changed))


def test_a_manifest_that_was_changed_is_found_before_any_code_is_loaded(saved):
    document = json.loads((saved / MANIFEST).read_text())
    document["stages"][0]["arena_floats"] = 0
    (saved / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(SpokeshaveError, match="its digest is not that of what it says"):
        load_deployment(saved)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda document: [document], "it is no JSON object"),
        (lambda document: {"format": document["format"]}, "it lacks 'files'"),
        (lambda document: {k: v for k, v in document.items() if k != "stages"}, "it lacks 'stages'"),
        (lambda document: document | {"isa": "avx9"}, "was built for avx9"),
        (lambda document: document | {"files": ["model.c"]}, "is damaged"),
        (lambda document: document | {"files": document["files"] | {WEIGHTS: {}}}, "is damaged"),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(saved, damage, sentence):
    rewrite(saved, damage)
    with pytest.raises(SpokeshaveError, match=sentence):
        load_deployment(saved)


def test_what_pytorch_refuses_at_run_time_is_one_sentence():
    deployment = compile_network(
        nn.Sequential(nn.Flatten(), nn.Linear(8, 4)), torch.zeros(1, 8, dtype=torch.int64)
    )
    with pytest.raises(SpokeshaveError, match=r"layer '1' .* failed: "):
        deployment(torch.zeros(1, 8, dtype=torch.int64))


@pytest.mark.parametrize("name", [SOURCE, WEIGHTS, LIBRARY])
def test_a_damaged_file_is_found_before_any_code_is_loaded(saved, name):
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(SpokeshaveError, match="damaged"):
        load_deployment(saved)
    (saved / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SpokeshaveError, match="damaged"):
        load_deployment(saved)
    (saved / name).unlink()
    with pytest.raises(SpokeshaveError, match="missing"):
        load_deployment(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 99, "files": {}}'])
def test_a_damaged_manifest_is_one_sentence(saved, text):
    (saved / MANIFEST).write_text(text)
    with pytest.raises(SpokeshaveError):
        load_deployment(saved)


def test_another_cpu_is_refused(saved):
    rewrite(saved, lambda document: document | {"machine": "sparc"})
    with pytest.raises(SpokeshaveError, match="sparc"):
        load_deployment(saved)


def test_features_that_this_cpu_lacks_are_refused(deployment, saved, monkeypatch):
    monkeypatch.setattr(isa, "cpu_features", frozenset)
    name = deployment.manifest.isa
    first = isa.instruction_sets()[name].features[0]
    with pytest.raises(SpokeshaveError, match=rf"built for {name}: this CPU lacks {first}.*lower --isa"):
        load_deployment(saved)
    with pytest.raises(SpokeshaveError, match=f"{name} cannot run here: this CPU lacks {first}"):
        compile_network(nn.Linear(2, 2), torch.zeros(1, 2), isa=name)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "takes 1 inputs"),
        (([1.0],), "must be a torch.Tensor"),
        ((torch.zeros(1, 3, 6, 7),), "has shape"),
        ((torch.zeros(3, 6, 6),), "has shape"),
        ((torch.zeros(1, 3, 6, 6, dtype=torch.float64),), "float64"),
        ((torch.zeros(1, 3, 6, 6, device="meta"),), "on meta"),
    ],
)
def test_wrong_inputs_are_one_sentence(deployment, inputs, message):
    with pytest.raises(SpokeshaveError, match=message):
        deployment(*inputs)


def test_a_sparse_input_is_one_sentence(deployment):
    with pytest.raises(SpokeshaveError, match=r"input 0 is sparse, .* dense tensors"):
        deployment(torch.zeros(1, 3, 6, 6).to_sparse())


def test_an_empty_batch_gives_an_empty_result(deployment):
    assert deployment(torch.zeros(0, 3, 6, 6)).shape == (0, 4)


def test_inputs_need_not_be_contiguous(deployment):
    x = torch.randn(2, 6, 6, 3).permute(0, 3, 1, 2)
    assert torch.equal(deployment(x), deployment(x.contiguous()))


def test_eight_threads_at_once(deployment):
    inputs = [torch.randn(2, 3, 6, 6) for _ in range(8)]
    expected = [deployment(x) for x in inputs]
    wrong = []

    def work(x: torch.Tensor, y: torch.Tensor) -> None:
        wrong.extend(1 for _ in range(200) if not torch.equal(deployment(x), y))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def resident_bytes() -> int:
    """What this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_ten_thousand_calls_leak_nothing(deployment):
    x = torch.randn(1, 3, 6, 6)
    for _ in range(2000):
        deployment(x)
    before = resident_bytes()
    for _ in range(10_000):
        deployment(x)
    assert resident_bytes() - before < 4 << 20


def test_peak_memory_is_the_weights_and_little_more_than_two_values(tmp_path):
    """In a process of its own: loading and running 64 MB of weights whose largest two values are 2 x 16 MB."""
    wide, height = 16, 512
    network = nn.Sequential(
        nn.Conv2d(1, wide, 3, padding=1), *(nn.Conv2d(wide, wide, 1) for _ in range(4)), nn.MaxPool2d(128),
        nn.Flatten(), nn.Linear(wide * 16, 1 << 16), nn.Linear(1 << 16, 3),
    )  # fmt: skip
    compile_network(network, torch.zeros(1, 1, height, height)).save(tmp_path / "saved")
    script = (
        "import sys, torch; from spokeshave.compiler import load_deployment; torch.set_num_threads(1)\n"
        "def resident(kind):\n"
        "    return int(next(line for line in open('/proc/self/status') if line.startswith(kind)).split()[1])\n"
        f"x = torch.ones(1, 1, {height}, {height})\n"
        "before = resident('VmRSS'); load_deployment(sys.argv[1])(x); print(resident('VmHWM') - before)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "saved")]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024
    weights = 4 * (wide * 16 << 16)
    live = 2 * 4 * wide * height**2
    assert grown <= weights + 1.3 * live + (4 << 20)  # libraries, manifest and Python's own take some


def test_profile_names_every_layer(deployment):
    rows = deployment.profile(torch.randn(4, 3, 6, 6), repeats=3)
    assert {row.layer for row in rows} >= {"0", "3"}
    assert all(row.seconds >= 0 for row in rows)


def test_cost_is_measured(deployment):
    assert deployment.cost.kind == "measured"
    assert deployment.cost.latency_seconds > 0
