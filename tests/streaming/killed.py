"""Prunes a checkpoint in forked processes, each of which kills itself at a later write than the last, until one ends.

Arguments: checkpoint, output, a file of tokens, and how many more writes each process is given. Prints the number of
processes that were killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import transformers.models.mixtral.modeling_mixtral  # noqa: F401  once, not in every forked process
from safetensors.torch import load_file

from spokeshave.streaming import prune_experts


def kill_at_call(name: str, last: int) -> None:
    """Let the process die by SIGKILL at the `last` call of a function of `os`, before it does anything."""
    function, calls = getattr(os, name), 0

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(os, name, counted)


def main(checkpoint: str, output: str, tokens: str, name: str, step: int) -> None:
    kills, last = 0, step
    while True:
        process = os.fork()
        if process == 0:
            kill_at_call(name, last)
            prune_experts(checkpoint, Path(output), tokens=load_file(tokens)["tokens"])
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        kills, last = kills + 1, last + step
    print(kills)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:5], int(sys.argv[5]))
