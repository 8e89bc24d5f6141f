"""Whole numbers as the words of a memory file (`$readmemh`), and back."""

import numpy as np
import torch
from torch import Tensor


def to_words(values: Tensor, bits: int) -> list[str]:
    """Numbers `[words, n]`, the first in the lowest bits, as hexadecimal words of `n * bits` bits.

    >>> to_words(torch.tensor([[1, -1], [7, 0]]), 4)
    ['f1', '07']
    """
    numbers = values.to(torch.int64).numpy()[:, :, None]
    digits = (numbers >> np.arange(bits) & 1).astype(np.uint8).reshape(len(values), -1)
    return _lines(digits)


def join_words(*columns: tuple[Tensor, int]) -> list[str]:
    """Words of several fields, the first in the lowest bits: pairs of `[words, n]` and bits."""
    parts = [
        (values.to(torch.int64).numpy()[:, :, None] >> np.arange(bits) & 1)
        .astype(np.uint8)
        .reshape(len(values), -1)
        for values, bits in columns
    ]
    return _lines(np.concatenate(parts, 1))


def _lines(digits: np.ndarray) -> list[str]:
    """Binary digits `[words, bits]`, the lowest first."""
    padded = np.pad(digits, ((0, 0), (0, -digits.shape[1] % 8)))
    text = np.packbits(padded[:, ::-1], axis=1).tobytes().hex()
    length = padded.shape[1] // 4
    return [text[start : start + length] for start in range(0, len(text), length)]


def from_words(lines: list[str], bits: int, signed: bool = True) -> Tensor:
    """Words as `[words, n]`, int64, the lowest bits first; each word holds `n` numbers of so many bits."""
    length = len(lines[0]) + len(lines[0]) % 2
    data = bytes.fromhex("".join(line.zfill(length) for line in lines))
    digits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(len(lines), -1), axis=1)[:, ::-1]
    count = digits.shape[1] // bits
    fields = digits[:, : count * bits].reshape(len(lines), count, bits).astype(np.int64)
    weights = np.left_shift(np.int64(1), np.arange(bits, dtype=np.int64))
    if signed:
        weights[-1] = -weights[-1]
    return torch.from_numpy(fields @ weights)
