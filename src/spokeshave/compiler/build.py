"""C source -> shared library, cached by content.

The compiler is the one that the environment variable CC names, else clang, gcc or cc, else zig's clang from the
`ziglang` wheel. `bench/compiler_routes.py` times the same source built by each of them: the code of gcc 12 and of
clang 22 runs equally fast within 5 % with AVX-512 and with AVX2, and zig takes several times longer to build, so C
without intrinsics serves every route and no second emitter is needed.
"""

import ctypes
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from spokeshave.compiler.isa import InstructionSet
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder

FLAGS = (
    *("-std=gnu11", "-O3", "-ffp-contract=fast"),
    *("-fPIC", "-shared", "-pthread", "-fvisibility=hidden"),
    *("-Wall", "-Werror=implicit-function-declaration", "-Wno-unused-function", "-Wno-psabi"),
)


@dataclass(frozen=True)
class Compiler:
    """A C compiler: its command, its version line, and whether it is zig's (which names CPUs its own way)."""

    command: tuple[str, ...]
    version: str
    zig: bool = False

    def target_flags(self, isa: InstructionSet) -> tuple[str, ...]:
        """Flags that select an instruction set."""
        if self.zig:
            return ((f"-mcpu={isa.zig_cpu}",) if isa.zig_cpu else ()) + isa.extra
        return isa.c_flags


@cache
def find_compiler() -> Compiler:
    """The C compiler to use; raises SpokeshaveError when there is none."""
    named = os.environ.get("CC")
    if named:
        compiler = _on_path(*_words(named))
        if compiler is None:
            raise SpokeshaveError(f"the environment variable CC names {named!r}, which is not on the path")
        return compiler
    compiler = _on_path("clang") or _on_path("gcc") or _on_path("cc") or zig_compiler()
    if compiler is None:
        raise SpokeshaveError(
            "there is no C compiler: install gcc or clang, or run `pip install 'spokeshave[zig]'`"
        )
    return compiler


def available_compilers() -> tuple[Compiler, ...]:
    """Every C compiler of this machine, for benchmarks."""
    found = (_on_path("clang"), zig_compiler(), _on_path("gcc"))
    return tuple(compiler for compiler in found if compiler is not None)


def _words(named: str) -> list[str]:
    """A command and its arguments, as `ccache gcc` or `gcc -m64`; no shell reads them."""
    try:
        return shlex.split(named) or [named]
    except ValueError:  # a quotation that does not end
        return [named]


def _on_path(command: str, *arguments: str) -> Compiler | None:
    found = shutil.which(command)
    if found is None:
        return None
    return Compiler((found, *arguments), _version((found, *arguments)))


def zig_compiler() -> Compiler | None:
    """Clang from the `ziglang` wheel, if that is installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    command = (sys.executable, "-m", "ziglang", "cc")
    return Compiler(command, f"{_version(command)} of the ziglang wheel", zig=True)


def _version(command: tuple[str, ...]) -> str:
    finished = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return (finished.stdout.splitlines() or ["unknown"])[0]


def build_library(
    source: str, isa: InstructionSet, compiler: Compiler | None = None, flags: tuple[str, ...] = ()
) -> Path:
    """Compile C source to a shared library and return its path; the same source is compiled once.

    Raises SpokeshaveError when the compiler fails.
    """
    compiler = compiler or find_compiler()
    options = (*FLAGS, *compiler.target_flags(isa), *flags)
    digest = sha256("\0".join((source, compiler.version, *compiler.command, *options)).encode()).hexdigest()[
        :32
    ]
    folder = cache_folder() / "libraries"
    library = folder / f"{digest}.so"
    if not _is_whole(library):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpokeshaveError(f"cannot write the cache folder {folder}: {error.strerror}") from error
        _compile(source, library, compiler, options)
    return library


def _compile(source: str, library: Path, compiler: Compiler, options: tuple[str, ...]) -> None:
    """Build next to the library and rename, so that no half-written library is ever loaded."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        text, built = Path(folder) / "model.c", Path(folder) / "model.so"
        text.write_text(source)
        command = [*compiler.command, *options, str(text), "-o", str(built), "-lm"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SpokeshaveError(f"{compiler.version} could not build the generated C: {_reason(finished)}")
        digest = Path(folder) / "digest"
        digest.write_text(_digest(built))
        built.replace(library)
        digest.replace(_digest_file(library))


def _reason(finished: subprocess.CompletedProcess[str]) -> str:
    """The compiler's first error, else what it said first, else how it ended."""
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    said = next((line for line in lines if "error" in line), " ".join(lines[:3])[:200])
    return said or f"exit status {finished.returncode} without a message"


def _is_whole(library: Path) -> bool:
    """Whether a cached library is as it was built; loading a cut one would end the process."""
    try:
        return _digest_file(library).read_text() == _digest(library)
    except (OSError, UnicodeDecodeError):
        return False


def _digest_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def load_library(path: Path) -> ctypes.CDLL:
    """Load a shared library built by `build_library`; raises SpokeshaveError when the system cannot."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise SpokeshaveError(
            f"could not load {path}: {error}; compile the network again on this machine"
        ) from error
