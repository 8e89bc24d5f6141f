"""Several processes of one script, side by side."""

import subprocess
import sys
from pathlib import Path


def run_processes(script: Path, processes: int, *arguments: str) -> None:
    """Run `python SCRIPT RANK PROCESSES ARGUMENTS...` for every rank at once; all must end well."""
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(processes), *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in started:
        errors = process.communicate(timeout=240)[1]
        assert process.returncode == 0, errors
