"""The file of a deployment's weights.

It is read into memory once: a mapped file would lie there beside its aligned copies. Numbers of 32 bits of which few
differ, places that kernels read and weights of few levels, are stored as a table and numbers of 8 or 16 bits into it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import save_file
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


MOST_DIFFERENT = 1 << 16
SAMPLE = 1 << 14
TABLE, NUMBERS = "/table", "/numbers"


def save_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as a safetensors file."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stored |= _coded(name, tensor) if _may_repeat(tensor) else {name: tensor.contiguous()}
    save_file(stored, path)


def _coded(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor as its different values, to the bit, and each element's number among them, where that takes less."""
    words = tensor.contiguous().view(torch.int32).numpy()
    values, numbers = np.unique(words, return_inverse=True)
    if len(values) > MOST_DIFFERENT or 2 * len(values) >= tensor.numel():
        return {name: tensor.contiguous()}
    kind = np.uint8 if len(values) <= 1 << 8 else np.uint16
    codes = torch.from_numpy(numbers.astype(kind)).view(tensor.shape)
    return {name + TABLE: torch.from_numpy(values).view(tensor.dtype), name + NUMBERS: codes}


def _may_repeat(tensor: Tensor) -> bool:
    """Whether places, or weights of which a sample repeats itself: few weights do, and sorting all takes long."""
    if tensor.dtype != torch.float32:
        return tensor.dtype == torch.int32
    sample = tensor.flatten()[:: max(1, tensor.numel() // SAMPLE)]
    return 4 * len(sample.unique()) < 3 * len(sample)


def load_aligned(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of `save_weights`, each at the start of a cache line.

    The format of safetensors: eight bytes with the length of a JSON header, the header, and the tensors one behind the
    other.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)

        whole = {
            name: _read(file, 8 + length, entry)
            for name, entry in header.items()
            if not name.endswith((TABLE, NUMBERS))
        }
        coded = [name.removesuffix(TABLE) for name in header if name.endswith(TABLE)]
        return whole | {
            name: _decoded(file, 8 + length, header[name + TABLE], header[name + NUMBERS]) for name in coded
        }


def _decoded(file: BinaryIO, first: int, table: dict[str, Any], numbers: dict[str, Any]) -> Tensor:
    """A tensor from its table and numbers, some at a time: all of them would lie beside it for a while."""
    values, kind = _read(file, first, table), DTYPES[numbers["dtype"]]
    begin, end = numbers["data_offsets"]
    tensor = aligned_memory(4 * ((end - begin) // kind.itemsize)).view(values.dtype)
    file.seek(first + begin)
    for piece in tensor.split(SAMPLE):
        places = np.frombuffer(file.read(len(piece) * kind.itemsize), f"u{kind.itemsize}")
        np.take(values.numpy(), places, out=piece.numpy())
    return tensor.view(numbers["shape"])


def _read(file: BinaryIO, first: int, entry: dict[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    memory = aligned_memory(end - begin)
    file.seek(first + begin)
    file.readinto(memory.numpy().data)  # type: ignore[attr-defined]
    return memory.view(DTYPES[entry["dtype"]]).view(entry["shape"])
