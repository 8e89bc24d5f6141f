"""Runs the tiny job on a disk that is too small for it, then makes room and resumes; run in its own mount namespace."""

import subprocess
import sys
from pathlib import Path

from spokeshave.cli.main import main


def fit(*arguments: str) -> int:
    try:
        main(["fit", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def run(recipe: str, disk: Path) -> None:
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    print("full:", fit("--recipe", recipe, "--threads", "1", "--output", str(disk / "run")))
    print("files:", sorted(path.name for path in (disk / "run").rglob("*") if path.is_file()))
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    print("roomy:", fit("--resume", str(disk / "run"), "--json"))


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
