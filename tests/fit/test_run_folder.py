"""A run folder is whole at every moment, belongs to one process, and never takes another folder's place."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from spokeshave.atomic import write_atomically
from spokeshave.errors import SpokeshaveError
from spokeshave.fit.run_folder import CHECKPOINTS, STATE, RunFolder, create_run, open_run
from spokeshave.fit.state import EpochRecord, State, StepRecord

FILES = {"recipe.yaml": "network: digits\n", "plan.yaml": "version: 1\n"}
EPOCH = EpochRecord("dense", 0, 0.5, 0.9, None, 1.25)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return create_run(tmp_path / "run", FILES, State(command="spokeshave fit"))


def test_state_survives_the_disk(run):
    state = (
        State("command")
        .after_epoch(EPOCH, "checkpoints/a")
        .after_step(StepRecord("dense", 2.0, {"x": 0.1 + 0.2}))
    )
    run.write_state(state)
    assert open_run(run.path).read_state() == state


def test_a_new_run_is_whole(run):
    assert {path.name for path in run.path.iterdir()} == {*FILES, STATE}
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]
    assert not run.finished


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.write_text("mine"), "is a file"),
        (
            lambda path: (path.mkdir(), (path / "thesis.txt").write_text("mine")),
            "holds something else than a run",
        ),
        (lambda path: create_run(path, FILES, State()), "holds a run already.*--resume"),
    ],
)
def test_other_folders_are_left_alone(tmp_path, make, sentence):
    make(tmp_path / "there")
    before = _contents(tmp_path)
    with pytest.raises(SpokeshaveError, match=sentence):
        create_run(tmp_path / "there", FILES, State())
    assert _contents(tmp_path) == before


def test_only_runs_are_replaced(run, tmp_path):
    run.write("result.json", "{}")
    assert not (create_run(run.path, FILES, State(), replace=True).path / "result.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(SpokeshaveError, match="holds something else"):
        create_run(tmp_path / "other", FILES, State(), replace=True)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    """A write that the system refuses half-way leaves the old content and nothing else."""
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(OSError, match="File too large") as refused, _files_limited_to(1000):
        write_atomically(path, b"x" * 5000)
    assert refused.value.errno == errno.EFBIG
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_refused_write_is_one_sentence(run):
    with (
        pytest.raises(SpokeshaveError, match=r"could not write .*x: file too large; .*--resume"),
        _files_limited_to(10),
    ):
        run.write("x", "x" * 100)
    assert open_run(run.path).read_state().command == "spokeshave fit"


def test_checkpoints_that_the_state_does_not_name_go(run):
    for name in ("a", "b"):
        run.write(f"{CHECKPOINTS}/{name}", name)
    run.write_state(State().after_epoch(EPOCH, f"{CHECKPOINTS}/b"))
    assert [path.name for path in (run.path / CHECKPOINTS).iterdir()] == ["b"]


def test_leftovers_of_a_killed_process_go(run):
    (run.path / ".state.json.tmp").write_text("half")
    (run.path / ".deployment-x").mkdir()
    with run.locked():
        assert {path.name for path in run.path.glob(".*")} == {".lock"}


HOLDER = """
import sys
from pathlib import Path
from spokeshave.fit.run_folder import open_run
with open_run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(run):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(SpokeshaveError, match=f"worked on by process {holder.pid}"), run.locked():
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with run.locked():
        assert (run.path / ".lock").read_text() == str(os.getpid())


@pytest.mark.parametrize("damage", ["", "{", '{"format": 2}', '{"format": 1, "steps": [{}], "epochs": []}'])
def test_a_damaged_state_is_one_sentence(run, damage):
    (run.path / STATE).write_text(damage)
    with pytest.raises(SpokeshaveError, match=r"is damaged: state.json cannot be understood"):
        run.read_state()


def test_no_run_is_one_sentence(tmp_path):
    with pytest.raises(SpokeshaveError, match="there is no run in"):
        open_run(tmp_path)


class _files_limited_to:  # noqa: N801
    """No file of this process may grow beyond this many bytes meanwhile."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
