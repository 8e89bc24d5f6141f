"""Starts the command line in forked processes, so that PyTorch is imported once for many of them.

Reads a JSON list a line: the arguments, and at which flush to the disk the process kills itself (0: never).
Answers with the process's number when it has started, and with its exit status when it has ended.
"""

import json
import os
import signal
import sys
import traceback

import torch

import spokeshave.fit
import spokeshave.measure.side_by_side  # noqa: F401  imported before the first fork, as everything slow is
from spokeshave.cli.main import main


def kill_at_flush(last: int) -> None:
    """Let the process die by SIGKILL at its `last` call of fsync, before anything is flushed or renamed."""
    flush, calls = os.fsync, 0

    def counted(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = counted


def serve() -> None:
    for line in sys.stdin:
        arguments, flush = json.loads(line)
        process = os.fork()
        if process == 0:
            if flush:
                kill_at_flush(flush)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = 1
            try:
                main(arguments)
            except SystemExit as end:
                status = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve()
