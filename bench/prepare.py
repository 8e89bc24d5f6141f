"""Makes the environments of the peers whose packages clash with ours, from `bench/requirements/`.

    python -m bench.prepare            # all of them
    python -m bench.prepare mnn

An environment that was made from the same requirements is left as it is.
"""

import argparse
import subprocess
import sys
import venv

from bench.workers import ENVIRONMENTS, HERE

REQUIREMENTS = HERE / "requirements"


def prepare(name: str) -> None:
    """Make one environment, or say that it is there."""
    folder, wanted = ENVIRONMENTS / name, REQUIREMENTS / f"{name}.txt"
    made = folder / "made-from.txt"
    if made.exists() and made.read_text() == wanted.read_text():
        print(f"{name}: there already")
        return
    venv.create(folder, clear=True, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", str(wanted)], check=True)
    made.write_text(wanted.read_text())
    print(f"{name}: made")


def main() -> int:
    known = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", choices=[*known, []], help="all of them otherwise")
    failed = []
    for name in parser.parse_args().name or known:
        try:
            prepare(name)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
