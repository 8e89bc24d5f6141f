"""This machine's CPU: its name, and holding PyTorch to some of its threads while something is timed."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from spokeshave.errors import SpokeshaveError


@cache
def cpu_name() -> str:
    """The CPU's name as the kernel gives it, else as Python does, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    keys = ("model name", "cpu model")
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(keys))
    return next(named, "") or platform.processor() or platform.machine()


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
