"""Reads a deployment's weights, each byte once: a mapped file would lie in memory beside its aligned copies."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from spokeshave.compiler.runtime import aligned_memory

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def load_aligned(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, each at the start of a cache line.

    The format: eight bytes with the length of a JSON header, the header, and the tensors one behind the other.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _read(file, 8 + length, entry) for name, entry in header.items()}


def _read(file: BinaryIO, first: int, entry: dict[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    memory = aligned_memory(end - begin)
    file.seek(first + begin)
    file.readinto(memory.numpy().data)  # type: ignore[attr-defined]
    return memory.view(DTYPES[entry["dtype"]]).view(entry["shape"])
