"""`kill -9`, a full disk, files away or damaged: the same command goes on and ends with the same bytes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.streaming.test_bad_checkpoints import SHARD, rewrite

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
    shards = {path: path.stat().st_mtime_ns for path in sorted(output.glob("model-*"))[:-1]}
    assert len(shards) == 2  # the last one holds what is in no layer
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


def after_the_first_layer(folder, output, tokens):
    """The shard of a run that was stopped in the second layer, and when it was written."""
    with pytest.raises(StoppedError):
        prune_experts(folder, output, tokens=tokens, progress=stop_at(4))
    shard = output / "model-00001-of-00004.safetensors"
    return shard, shard.stat().st_mtime_ns


def test_a_shard_that_was_away_is_put_back(copied, tokens, tmp_path):
    prune_experts(copied, tmp_path / "whole", tokens=tokens)
    shard, written = after_the_first_layer(copied, tmp_path / "out", tokens)
    (copied / SHARD).rename(tmp_path / "away")
    with pytest.raises(SpokeshaveError, match=f"there is no file .*{SHARD}, which .*; put it there"):
        prune_experts(copied, tmp_path / "out", tokens=tokens)
    shutil.copyfile(tmp_path / "away", copied / SHARD)  # as new as if it had been fetched again
    prune_experts(copied, tmp_path / "out", tokens=tokens)
    assert shard.stat().st_mtime_ns == written
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_shard_that_was_damaged_is_mended(copied, tokens, tmp_path):
    """The whole layers are not pruned again."""
    prune_experts(copied, tmp_path / "whole", tokens=tokens)
    shutil.copytree(copied, tmp_path / "sound")
    rewrite(copied, "model.layers.1.mlp.experts.down_proj", lambda tensor: tensor * torch.nan)
    with pytest.raises(SpokeshaveError, match="holds NaN"):
        prune_experts(copied, tmp_path / "out", tokens=tokens)
    shutil.copytree(tmp_path / "sound", copied, dirs_exist_ok=True)
    seen = []
    prune_experts(copied, tmp_path / "out", tokens=tokens, progress=lambda done, *_: seen.append(done))
    assert seen[0] == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_weights_of_whole_layers_are_refused(copied, tokens, tmp_path):
    after_the_first_layer(copied, tmp_path / "out", tokens)
    rewrite(copied, "model.layers.0.mlp.experts.down_proj", lambda tensor: tensor * 2)
    with pytest.raises(
        SpokeshaveError, match=r"model-00001.* was pruned from other weights .*model.layers.0"
    ):
        prune_experts(copied, tmp_path / "out", tokens=tokens)


@pytest.mark.parametrize("left", [None, 100])
def test_a_whole_layer_that_is_away_or_cut_short(separate, tokens, tmp_path, whole, left):
    """Told before the next layer is pruned; put back, the run goes on."""
    shard, _ = after_the_first_layer(separate, tmp_path / "out", tokens)
    content = shard.read_bytes()
    shard.unlink()
    if left is not None:
        shard.write_bytes(content[:left])
    with pytest.raises(SpokeshaveError, match=r"model-00001.*it was whole: put it back"):
        prune_experts(separate, tmp_path / "out", tokens=tokens, progress=stop_at(4))
    shard.write_bytes(content)
    prune_experts(separate, tmp_path / "out", tokens=tokens)
    assert contents(tmp_path / "out") == whole


def test_a_full_disk(separate, tokens, tmp_path, whole, monkeypatch):
    after_the_first_layer(separate, tmp_path / "out", tokens)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with pytest.raises(SpokeshaveError, match="out: no space left on device; whole layers are kept"):
            prune_experts(separate, tmp_path / "out", tokens=tokens)
    prune_experts(separate, tmp_path / "out", tokens=tokens)
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("change", [{"layers": [1]}, {"layers": "ab"}, {"task": 5}, None])
def test_a_damaged_state_is_refused(separate, tokens, tmp_path, change):
    after_the_first_layer(separate, tmp_path / "out", tokens)
    state = tmp_path / "out" / "unfinished" / "state.json"
    state.write_text("{" if change is None else json.dumps(json.loads(state.read_text()) | change))
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
