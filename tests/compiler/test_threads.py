"""The library's own threads: the same bits for any number of them, callers side by side, forks, unloading, leaks."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.build import build_library, load_library
from spokeshave.compiler.isa import instruction_set
from spokeshave.errors import SpokeshaveError

COUNTS = (2, 3, 5, 64)  # 64: more threads than any layer has work


@pytest.fixture(scope="module")
def deployment() -> NativeDeployment:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(24, 40, 3, stride=2, padding=1),
        nn.GroupNorm(4, 40),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(40 * 16, 10),
        nn.Softmax(1),
    ).eval()
    return compile_network(network, torch.randn(1, 3, 16, 16))


@pytest.fixture(autouse=True)
def one_thread_afterwards(deployment):
    yield
    deployment.threads = 1


def resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.parametrize("samples", [0, 1, 2, 7])
def test_any_number_of_threads_gives_the_same_bits(deployment, samples):
    x = torch.randn(samples, 3, 16, 16)
    expected = deployment(x)
    for threads in COUNTS:
        deployment.threads = threads
        assert torch.equal(deployment(x), expected), threads


def test_threads_compute(deployment):
    """With two threads, a part of the CPU time of a call is spent outside the calling thread."""
    x = torch.randn(512, 3, 16, 16)
    deployment.threads = 2
    deployment(x)
    before = time.process_time(), time.thread_time()
    for _ in range(5):
        deployment(x)
    process, caller = time.process_time() - before[0], time.thread_time() - before[1]
    assert caller < 0.8 * process


def test_eight_callers_share_one_deployment(deployment):
    inputs = [torch.randn(3, 3, 16, 16) for _ in range(8)]
    expected = [deployment(x) for x in inputs]
    deployment.threads = 2
    wrong = []

    def work(x: torch.Tensor, y: torch.Tensor) -> None:
        wrong.extend(1 for _ in range(100) if not torch.equal(deployment(x), y))

    callers = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    [caller.start() for caller in callers]
    [caller.join() for caller in callers]
    assert not wrong


@pytest.mark.parametrize(
    ("threads", "calls"), [(1, 10_000), (2, 1_000)]
)  # two wait for each other on busy cores
def test_ten_thousand_calls_leak_nothing(deployment, threads, calls):
    x = torch.randn(1, 3, 16, 16)
    deployment.threads = threads
    for _ in range(1000):
        deployment(x)
    before = resident_kilobytes()
    for _ in range(calls):
        deployment(x)
    assert resident_kilobytes() - before < 2048


def test_a_forked_child_starts_threads_of_its_own(deployment):
    x = torch.randn(1, 3, 16, 16)
    expected = deployment(x)
    deployment.threads = 2
    deployment(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(torch.equal(deployment(x), expected) for _ in range(20)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(deployment(x), expected)


def test_unloading_joins_the_threads():
    source = Path(sys.modules["spokeshave.compiler"].__file__).parent / "kernels"
    text = "".join((source / name).read_text() for name in ("vector.h", "team.h"))
    text = f"""#define LANES 4
{text}
static void work(const request *r, worker w, float *arena, long sample, int group, double *seconds) {{
    barrier(w);
    if (w.index == 0) r->outputs[0][0] += (float)w.count;
    (void)arena, (void)sample, (void)group, (void)seconds;
}}
__attribute__((visibility("default"))) void run(float *to, int threads) {{
    float *const outputs[] = {{to}};
    run_request(&(request){{work, 0, 0, 0, 1, 0, outputs, 1, 0}}, threads);
}}
"""
    library = load_library(build_library(text, instruction_set("portable")))
    total = (ctypes.c_float * 1)()
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    for _ in range(50):
        library.run(total, 4)
    assert total[0] == 50 * 4
    assert len(list(tasks.iterdir())) == before + 3
    ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
    assert len(list(tasks.iterdir())) == before


def test_a_process_with_sleeping_threads_ends(deployment, tmp_path):
    deployment.save(tmp_path / "saved")
    script = (
        "import sys, torch; from spokeshave.compiler import load_deployment; "
        "d = load_deployment(sys.argv[1]); d.threads = 3; print(d(torch.ones(1, 3, 16, 16)).sum().item())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "saved")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert float(finished.stdout) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("count", [0, -1, 65, 2.0, True, "2", None])
def test_a_wrong_number_of_threads_is_one_sentence(deployment, count):
    with pytest.raises(SpokeshaveError, match="whole number from 1 to 64"):
        deployment.threads = count


def test_without_a_threads_library_the_same_source_runs_alone(deployment, tmp_path):
    flags = ("-DSPOKESHAVE_SINGLE_THREADED", "-Wextra", "-Wno-unused-parameter")
    alone = build_library(deployment.generated.source, instruction_set(None), flags=flags)
    names = subprocess.run(["nm", "-D", str(alone)], capture_output=True, text=True, check=True).stdout
    assert "pthread" not in names
    assert "segment_0" in names
