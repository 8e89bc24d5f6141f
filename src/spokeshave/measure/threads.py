"""Hold PyTorch to a number of threads, and give them back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spokeshave.errors import SpokeshaveError


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let PyTorch's operators use `threads` threads while the block runs."""
    if threads < 1:
        raise SpokeshaveError(f"{threads} threads cannot run anything; ask for at least 1")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
