import gc
import os
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from spokeshave.measure import PEERS, Absent, dense_peers, interleave
from spokeshave.measure.peers import Maker, PeerError, PeerLateError, Task, WorkerRun

PROTOCOL = Path(__file__).parents[2] / "bench" / "peers"

DOUBLING = """
import sys, threading
sys.path.insert(0, {protocol!r})
from line_protocol import serve

def load(folder, inputs, threads):
    print("talk on standard output must not reach the pipe")
    if threads > 4:
        raise ValueError("too many threads\\nand more")
    threading.Thread(target=spin, daemon=True).start()
    return lambda: [2 * inputs[0], inputs[1]], "9.9"

def spin():
    while True:
        pass

serve(load)
"""


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "doubling_worker.py"
    script.write_text(DOUBLING.format(protocol=str(PROTOCOL)))
    return (sys.executable, str(script))


class Doubling(nn.Module):
    def forward(self, first, second):
        return 2 * first, second


def task(folder, threads=1):
    return Task(Doubling(), (torch.randn(1, 3), torch.arange(4)[None]), threads, folder)


def test_a_worker_takes_part_in_interleaved_rounds_with_its_own_clock(command, tmp_path):
    work = task(tmp_path)
    run = WorkerRun(command, work)
    assert run.version == "9.9"
    assert torch.equal(torch.from_numpy(run()[0]), 2 * work.inputs[0])
    assert run()[1].tolist() == [[0, 1, 2, 3]]
    assert 0 < run.timed(1000) < 5
    timed = interleave(
        {"worker": run, "here": lambda: work.network(*work.inputs)}, rounds=3, slot_seconds=0.01
    )
    assert timed.timing("worker").calls > 0
    run.close()


def test_a_worker_takes_no_processor_between_its_turns(command, tmp_path):
    run = WorkerRun(command, task(tmp_path))
    assert run.timed(1) >= 0
    before = processor_seconds(run)
    time.sleep(0.3)  # one of its threads never rests
    assert processor_seconds(run) - before < 0.05
    run()
    run.close()
    assert run._process.returncode == 0


def test_a_worker_that_nobody_holds_any_more_is_ended(command, tmp_path):
    run = WorkerRun(command, task(tmp_path))
    process = run._process
    del run
    gc.collect()
    assert process.wait(5) < 0


def processor_seconds(run):
    fields = Path(f"/proc/{run._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_that_is_not_ready_in_time_is_ended(tmp_path):
    script = tmp_path / "slow_worker.py"
    script.write_text("import time\ntime.sleep(600)")
    with pytest.raises(PeerLateError, match=r"not converted and loaded the network after 0\.2 seconds"):
        WorkerRun((sys.executable, str(script)), task(tmp_path), ready_seconds=0.2)


def test_a_worker_that_cannot_load_says_why(command, tmp_path):
    with pytest.raises(PeerError, match=r"ValueError: too many threads$"):
        WorkerRun(command, task(tmp_path, threads=5))


def test_a_worker_that_dies_is_told_with_its_exit_code(tmp_path):
    script = tmp_path / "dies.py"
    script.write_text("raise SystemExit(7)")
    with pytest.raises(PeerError, match="its process ended with exit code 7"):
        WorkerRun((sys.executable, str(script)), task(tmp_path))


def test_workers_are_checked_and_listed_like_other_peers(command, tmp_path):
    makers = {
        "good": Maker("Good", "nowhere", lambda work: WorkerRun(command, work)),
        "bad": Maker("Bad", "nowhere", lambda work: WorkerRun((sys.executable, "-c", "1 / 0"), work), "int8"),
    }
    example = (torch.randn(1, 3), torch.arange(4)[None])
    peers, absent = dense_peers(
        Doubling(), example, only=list(makers), makers=makers, folder=tmp_path / "kept"
    )
    assert [(peer.label, peer.version, peer.error) for peer in peers] == [("Good fp32", "9.9", 0.0)]
    assert absent == [Absent("Bad", "its process ended with exit code 1", "int8")]
    assert (tmp_path / "kept" / "input_0.npy").exists()


def test_half_precision_peers_are_not_asked_unless_named():
    network = nn.Sequential(nn.Linear(64, 64))
    example = torch.randn(1, 64)
    peers, _ = dense_peers(network, example, only=["eager", "eager_bf16"])
    assert [peer.label for peer in peers] == ["PyTorch eager fp32", "PyTorch eager bf16"]
    assert peers[0].error == 0 < peers[1].error < 0.02
    assert {PEERS[name].precision for name in ("eager_bf16", "onnxruntime_int8")} == {"bf16", "int8"}


def test_int8_peers_differ_by_their_rounding_and_share_one_export(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    names = ["onnxruntime", "onnxruntime_int8"]
    peers, absent = dense_peers(network, torch.randn(1, 3, 8, 8), only=names, folder=tmp_path)
    assert absent == []
    assert peers[0].error < 1e-5 < peers[1].error < 0.1
    assert {path.name for path in tmp_path.glob("*.onnx")} >= {"network.onnx", "network-int8.onnx"}


def test_recurrent_layers_are_exported_and_have_no_int8_peer():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.GRU(5, 8, batch_first=True)

        def forward(self, x):
            return self.layers(x)[0]

    peers, absent = dense_peers(Recurrent(), torch.randn(1, 4, 5), only=["onnxruntime", "onnxruntime_int8"])
    assert [peer.label for peer in peers] == ["ONNX Runtime fp32"]
    assert absent == [Absent("ONNX Runtime", "its quantizer leaves recurrent layers in float32", "int8")]
