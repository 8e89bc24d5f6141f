"""Control-C: one line that says how to go on, exit code 130."""

import signal
import subprocess
import sys
import time


def _listen():
    """A test run in the background of a shell is started deaf to interruptions, and so would be its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interruption_says_how_to_go_on(recipe, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from spokeshave.cli.main import main; main()",
        "fit",
        "--recipe",
        str(recipe),
    ]
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*command, "--threads", "1", "--output", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen,
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == f"interrupted; go on with: spokeshave fit --resume {run}"
    assert "Traceback" not in err
