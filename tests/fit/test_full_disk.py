"""A disk that runs full: one sentence, a run that is still whole, and that goes on once there is room."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def _may_mount() -> bool:
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode
    )


@pytest.mark.skipif(not _may_mount(), reason="needs the right to mount a small disk of its own")
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(recipe, tmp_path):
    script = Path(__file__).with_name("full_disk.py")
    command = [*NAMESPACE, sys.executable, str(script), str(recipe), str(tmp_path / "disk")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "full: 2" in done.stdout, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no space left on device" in errors[0].lower()
    assert "Traceback" not in done.stderr
    assert ".tmp" not in done.stdout
    assert "roomy: 0" in done.stdout
