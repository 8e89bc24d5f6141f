"""Runs a WebAssembly program by the `wasmtime` wheel, in a folder of its own and nothing else."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

TRAPPED = 134


def run_wasm(program: Path, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error; the program sees the files of its own folder."""
    import wasmtime

    with tempfile.TemporaryDirectory() as folder:
        printed, complaint = Path(folder) / "out", Path(folder) / "err"
        system = wasmtime.WasiConfig()
        system.argv = (program.name, *arguments)
        system.preopen_dir(str(program.parent), ".")
        system.stdout_file, system.stderr_file = str(printed), str(complaint)
        engine = wasmtime.Engine()
        store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
        store.set_wasi(system)
        linker.define_wasi()
        module = wasmtime.Module.from_file(engine, str(program))
        start = linker.instantiate(store, module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        try:
            start(store)
        except wasmtime.ExitTrap as ended:
            return ended.code, printed.read_text(), complaint.read_text()
        except wasmtime.Trap as trap:
            return TRAPPED, printed.read_text(), str(trap)
        return 0, printed.read_text(), complaint.read_text()
