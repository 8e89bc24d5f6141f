"""The weights of an artefact: tensors one behind the other, each at a multiple of 64 bytes, and nothing else."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spokeshave.compiler.layout import round_up

ALIGNMENT_BYTES = 64
WORDS_A_LINE = 6


@dataclass(frozen=True)
class WeightsFile:
    """The bytes, and where each tensor begins."""

    data: bytes
    offsets: tuple[int, ...]

    @property
    def checksum(self) -> int:
        """CRC-32 of all bytes."""
        return zlib.crc32(self.data)


def lay_out(tensors: Sequence[Tensor]) -> WeightsFile:
    """Put tensors into one file, little-endian; it is never empty."""
    offsets, data = [], bytearray()
    for tensor in tensors:
        offsets.append(len(data))
        row = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.reshape(-1))
        data += row.view(torch.uint8).numpy().tobytes()
        data += bytes(round_up(len(data), ALIGNMENT_BYTES) - len(data))
    return WeightsFile(bytes(data) or bytes(ALIGNMENT_BYTES), tuple(offsets))


def embedded(data: bytes, name: str) -> str:
    """C text of an array that holds the bytes."""
    words = np.frombuffer(data, "<u8")
    rows = (words[start : start + WORDS_A_LINE] for start in range(0, len(words), WORDS_A_LINE))
    lines = "\n".join("    " + " ".join(f"0x{word:x}u," for word in row) for row in rows)
    return (
        f"/* The weights of {name}; include this in one file, and hand them to {name}_create_from_memory. */\n"
        f"#include <stdint.h>\n\nstatic const uint64_t {name}_weights[] __attribute__((aligned({ALIGNMENT_BYTES}))) = "
        f"{{\n{lines}\n}};\n"
    )
