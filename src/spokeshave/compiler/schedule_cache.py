"""Schedules that were timed on this machine, kept in the user's cache folder.

One JSON file for each CPU, instruction set, compiler, number of threads and text of the kernels; in it one schedule
for each product. A file that cannot be read is as good as none, and entries that make no sense are dropped, so a
damaged cache is rebuilt by the next tuning.
"""

import json
import tempfile
from dataclasses import asdict, fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from spokeshave.compiler.build import FLAGS, Compiler
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.schedule import Schedule
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder
from spokeshave.processor import cpu_name


class ScheduleCache:
    """The schedules of one machine and compiler, by the key of their product."""

    def __init__(self, isa: InstructionSet, compiler: Compiler, threads: int) -> None:
        self._about = {
            "cpu": cpu_name(),
            "isa": isa.name,
            "compiler": compiler.version,
            "threads": threads,
            "kernels": _kernels_digest()[:16],
        }
        name = sha256(json.dumps(self._about).encode()).hexdigest()[:16]
        self.path = cache_folder() / "schedules" / f"{name}.json"
        self._schedules = self._read()

    def get(self, key: str) -> Schedule | None:
        """The schedule of a product, if it was timed before."""
        return self._schedules.get(key)

    def add(self, key: str, schedule: Schedule) -> None:
        """Keep a schedule, beside what other processes have kept meanwhile; the file is replaced as a whole.

        Raises SpokeshaveError when the cache folder cannot be written.
        """
        self._schedules = self._read() | self._schedules | {key: schedule}
        document = self._about | {"schedules": {k: asdict(v) for k, v in sorted(self._schedules.items())}}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                json.dump(document, file, indent=1)
            Path(file.name).replace(self.path)
        except OSError as error:
            raise SpokeshaveError(f"cannot write the cache file {self.path}: {error.strerror}") from error

    def _read(self) -> dict[str, Schedule]:
        try:
            entries = json.loads(self.path.read_text())["schedules"].items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {key: Schedule(**entry) for key, entry in entries if _is_schedule(entry)}


@cache
def _kernels_digest() -> str:
    """Digest of the text of all kernels and of those who make and time them."""
    digest = sha256(" ".join(FLAGS).encode())
    root = Path(__file__).parent
    for room in ("kernels", "emit"):
        for path in sorted((root / room).rglob("*")):
            if path.suffix in (".py", ".h", ".toml"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _is_schedule(entry: Any) -> bool:
    types = {field.name: field.type for field in fields(Schedule)}
    return isinstance(entry, dict) and {key: type(value) for key, value in entry.items()} == types
