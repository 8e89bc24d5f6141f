"""Hidden states of all calibration tokens, on disk: rows are read and written where they lie."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

VALUE_BYTES = 4  # float32


@dataclass(frozen=True)
class States:
    """An open file of `[tokens, columns]` float32 numbers; open one with `opened_states`."""

    descriptor: int
    columns: int

    def span(self, first: int, count: int) -> Tensor:
        """Rows one behind another, `[count, columns]`."""
        rows = torch.empty(count, self.columns)
        self._read_into(rows, first)
        return rows

    def rows(self, tokens: Tensor) -> Tensor:
        """The rows of these tokens, `[len(tokens), columns]`."""
        rows = torch.empty(len(tokens), self.columns)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            self._read_into(row, token)
        return rows

    def put(self, first: int, rows: Tensor) -> None:
        """Write rows one behind another."""
        content = rows.contiguous().numpy().data.cast("B")
        at = first * self.columns * VALUE_BYTES
        while len(content):
            written = os.pwrite(self.descriptor, content, at)
            content, at = content[written:], at + written

    def add(self, tokens: Tensor, rows: Tensor) -> None:
        """Add to the rows of these tokens, each named once."""
        for token, row in zip(tokens.tolist(), self.rows(tokens) + rows, strict=True):
            self.put(token, row)

    def flush(self) -> None:
        """Let everything reach the disk."""
        os.fsync(self.descriptor)

    def _read_into(self, rows: Tensor, first: int) -> None:
        space = rows.numpy().data.cast("B")
        at = first * self.columns * VALUE_BYTES
        while len(space):
            got = os.preadv(self.descriptor, [space], at)
            if not got:
                raise SpokeshaveError(
                    "calibration states are cut short; remove the output folder, begin again"
                )
            space, at = space[got:], at + got


@contextlib.contextmanager
def opened_states(path: Path, columns: int) -> Iterator[States]:
    """Open a file of states, a new one where there is none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield States(descriptor, columns)
    finally:
        os.close(descriptor)
