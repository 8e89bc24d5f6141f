"""Safetensors files read and written some rows at a time, so that no file is ever in memory whole.

Files are read, not mapped: mapped pages count as resident memory for as long as the file stays open.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spokeshave.atomic import written_atomically
from spokeshave.errors import SpokeshaveError

FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LENGTH_BYTES = 8  # of the header, little-endian, in front of it
COPY_BYTES = 1 << 24
SAMPLE_BYTES = 1 << 10


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its type by safetensors' name, shape, and first and last byte of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def columns(self) -> int:
        """Length of the last axis: a tensor is seen as rows along it."""
        return self.shape[-1] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return (self.end - self.start) * self.columns // max(1, math.prod(self.shape))


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file of which only the header has been read; make one with `open_tensor_file`."""

    path: Path
    entries: Mapping[str, Entry]

    def check_floating(self, name: str) -> None:
        """Raise SpokeshaveError unless the tensor is of a floating-point type that is pruned."""
        dtype = self.entries[name].dtype
        if dtype not in FLOATS:
            raise SpokeshaveError(
                f"{self.path}: {name} is of type {dtype}; weights must be of one of {', '.join(FLOATS)}"
            )

    def rows(self, name: str, first: int = 0, count: int | None = None) -> Tensor:
        """Rows of a floating-point tensor, `[count, columns]` in its own type; all without a count."""
        self.check_floating(name)
        entry = self.entries[name]
        if count is None:
            count = math.prod(entry.shape[:-1])
        found = torch.empty(count, entry.columns, dtype=FLOATS[entry.dtype])
        self._read_into(_bytes(found), entry.start + first * entry.row_bytes)
        self._check_finite(name, found)
        return found

    def pieces(self, name: str) -> Iterator[bytearray]:
        """The bytes of a tensor of any type, piece by piece."""
        entry = self.entries[name]
        for start in range(entry.start, entry.end, COPY_BYTES):
            piece = self._read(start, min(start + COPY_BYTES, entry.end))
            if entry.dtype in FLOATS:
                self._check_finite(name, torch.frombuffer(piece, dtype=FLOATS[entry.dtype]))
            yield piece

    def sample(self, name: str) -> bytes:
        """Some bytes of a tensor, of its beginning, middle and end: other weights have others."""
        entry = self.entries[name]
        last = max(entry.start, entry.end - SAMPLE_BYTES)
        starts = (entry.start, (entry.start + last) // 2, last)
        return b"".join(self._read(start, min(start + SAMPLE_BYTES, entry.end)) for start in starts)

    def _check_finite(self, name: str, values: Tensor) -> None:
        if not torch.isfinite(values).all():
            raise SpokeshaveError(f"{self.path}: {name} holds NaN or infinite values; weights must be finite")

    def _read(self, start: int, end: int) -> bytearray:
        space = bytearray(end - start)
        self._read_into(memoryview(space), start)
        return space

    def _read_into(self, space: memoryview, start: int) -> None:
        with _readable(self.path), self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while len(space):
                got = file.readinto(space)
                if not got:
                    raise SpokeshaveError(f"{self.path} is cut short: it ends within its tensors")
                space = space[got:]


def open_tensor_file(path: Path) -> TensorFile:
    """Read a file's header; raises SpokeshaveError when the file is missing, damaged or cut short."""
    if not path.is_file():
        raise SpokeshaveError(f"there is no file {path}")
    try:
        with _readable(path), safe_open(path, framework="np"), path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise SpokeshaveError(f"{path} is damaged or cut short: {reason}") from error
    return TensorFile(path, _entries(header, LENGTH_BYTES + length))


class TensorWriter:
    """Fills the tensors of a new file in any order; make one with `written_tensors`."""

    def __init__(self, descriptor: int, entries: Mapping[str, Entry]) -> None:
        self._descriptor = descriptor
        self._entries = entries

    def put_rows(self, name: str, first: int, rows: Tensor) -> None:
        """Write rows `[count, columns]`, converted to the tensor's type, from row `first` on."""
        entry = self._entries[name]
        converted = rows.to(FLOATS[entry.dtype]).contiguous()
        self._write(_bytes(converted), entry.start + first * entry.row_bytes)

    def copy(self, name: str, source: TensorFile) -> None:
        """Write a tensor as it is in another file."""
        at = self._entries[name].start
        for piece in source.pieces(name):
            self._write(memoryview(piece), at)
            at += len(piece)

    def _write(self, content: memoryview, at: int) -> None:
        while len(content):
            written = os.pwrite(self._descriptor, content, at)
            content, at = content[written:], at + written


@contextlib.contextmanager
def written_tensors(path: Path, tensors: Mapping[str, Entry]) -> Iterator[TensorWriter]:
    """A file of tensors of the given types and shapes, to be filled; it has its name when the block ends."""
    header, entries = _layout(tensors)
    with written_atomically(path) as file:
        file.write(header)
        file.flush()
        file.truncate(max((entry.end for entry in entries.values()), default=len(header)))
        yield TensorWriter(file.fileno(), entries)


def _layout(tensors: Mapping[str, Entry]) -> tuple[bytes, dict[str, Entry]]:
    """A header, and where the tensors lie behind it; those of wide types come first, so that all are aligned."""
    order = sorted(tensors, key=lambda name: (tensors[name].dtype != "F32", tensors[name].dtype, name))
    document: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in order:
        entry = tensors[name]
        end = at + entry.end - entry.start
        document[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (at, end)}
        at = end
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, _entries(document, LENGTH_BYTES + len(text))


def _entries(document: dict[str, object], behind: int) -> dict[str, Entry]:
    return {
        name: Entry(
            entry["dtype"],
            tuple(entry["shape"]),
            behind + entry["data_offsets"][0],
            behind + entry["data_offsets"][1],
        )
        for name, entry in document.items()
        if name != "__metadata__" and isinstance(entry, dict)
    }


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.view(-1).view(torch.uint8).numpy().data


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpokeshaveError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
