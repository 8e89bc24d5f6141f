"""`kill -9` at any moment: the same command goes on and ends with the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spokeshave.errors import SpokeshaveError
from spokeshave.streaming import ExpertPruning, prune_experts


class StoppedError(Exception):
    pass


def stop_at(expert):
    def progress(done, total, note):
        if done == expert:
            raise StoppedError

    return progress


def contents(folder):
    names = {path.name for path in folder.iterdir()}
    return {name: (folder / name).read_bytes() for name in names - {"pruning_report.json"}}


@pytest.fixture(scope="module")
def whole(separate, tokens, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    prune_experts(separate, folder, tokens=tokens)
    return contents(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("function", "step"), [("fsync", 1), ("pwrite", 97)])
def test_killed_again_and_again(separate, tokens, tmp_path, whole, function, step):
    """Between writing and renaming, and in the middle of shards and states."""
    save_file({"tokens": tokens}, tmp_path / "tokens")
    script = Path(__file__).with_name("killed.py")
    arguments = [separate, tmp_path / "out", tmp_path / "tokens", function, step]
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    assert contents(tmp_path / "out") == whole


def test_whole_layers_are_kept(separate, tokens, tmp_path, whole):
    output = tmp_path / "out"
    with pytest.raises(StoppedError):
        prune_experts(separate, output, tokens=tokens, progress=stop_at(9))
    assert not (output / "config.json").exists()
    shards = {path: path.stat().st_mtime_ns for path in output.glob("model-*")}
    assert len(shards) == 2
    seen = []
    prune_experts(separate, output, tokens=tokens, progress=lambda done, *_: seen.append(done))
    assert seen == [8, 9, 10, 11]
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert contents(output) == whole


@pytest.mark.parametrize(
    ("settings", "shift", "sentence"),
    [
        (ExpertPruning(criterion="wanda"), 0, "another criterion"),
        (ExpertPruning(token_floor=1), 0, "another token_floor"),
        (ExpertPruning(), 1, "another tokens"),
    ],
)
def test_another_task_does_not_go_on(separate, tokens, tmp_path, settings, shift, sentence):
    with pytest.raises(StoppedError):
        prune_experts(separate, tmp_path / "out", tokens=tokens, progress=stop_at(4))
    with pytest.raises(SpokeshaveError, match=sentence):
        prune_experts(separate, tmp_path / "out", settings, (tokens + shift) % 96)


def test_a_damaged_state_is_refused(separate, tokens, tmp_path):
    with pytest.raises(StoppedError):
        prune_experts(separate, tmp_path / "out", tokens=tokens, progress=stop_at(4))
    (tmp_path / "out" / "unfinished" / "state.json").write_text("{")
    with pytest.raises(SpokeshaveError, match="is damaged"):
        prune_experts(separate, tmp_path / "out", tokens=tokens)


def test_states_cut_short_are_refused(separate, tokens, tmp_path):
    with pytest.raises(StoppedError):
        prune_experts(separate, tmp_path / "out", tokens=tokens, progress=stop_at(4))
    (tmp_path / "out" / "unfinished" / "states-1.float32").write_bytes(b"short")
    with pytest.raises(SpokeshaveError, match="states are cut short"):
        prune_experts(separate, tmp_path / "out", tokens=tokens)


def test_two_processes_do_not_share_a_folder(separate, tokens, tmp_path):
    script = (
        "import sys, pathlib\n"
        "from spokeshave.streaming.progress_folder import open_progress\n"
        "with open_progress(pathlib.Path(sys.argv[1]), {}): print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SpokeshaveError, match="being worked on by another process"):
            prune_experts(separate, tmp_path / "out", tokens=torch.clone(tokens))
    finally:
        holder.communicate()
