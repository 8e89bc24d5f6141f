"""What a measurement was taken on: CPU, caches, instruction set, threads, versions."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.isa import best_here, cpu_features
from spokeshave.errors import SpokeshaveError
from spokeshave.processor import cpu_name

PACKAGES = ("spokeshave", "torch", "numpy", "onnxruntime", "onnx", "onnxscript", "openvino")
VECTOR_FEATURES = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512",
    "avx_vnni",
    "amx",
    "asimd",
    "neon",
    "sve",
    "i8mm",
    "bf16",
)
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Machine:
    """One machine as a measurement saw it; every field goes into JSON as it is (`dataclasses.asdict`).

    `features` are the vector instructions, `isa` the instruction set that kernels are generated for, `caches`
    the sizes of one core's caches in bytes by name (`L1d`, `L2`, ...); `versions` holds the installed
    packages only.
    """

    cpu: str
    architecture: str
    cores: int
    threads: int
    isa: str
    features: tuple[str, ...]
    caches: dict[str, int]
    system: str
    versions: dict[str, str]


def describe_machine(threads: int = 1) -> Machine:
    """Describe this machine; `threads` is how many a measurement uses."""
    return Machine(
        cpu=cpu_name(),
        architecture=platform.machine(),
        cores=_available_cores(),
        threads=threads,
        isa=best_here().name,
        features=tuple(sorted(name for name in cpu_features() if name.startswith(VECTOR_FEATURES))),
        caches=_cache_sizes(CACHES),
        system=f"{platform.system()} {platform.release()}",
        versions=_versions(),
    )


def _available_cores() -> int:
    """Cores that this process may use, which containers limit below the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cache_sizes(folder: Path) -> dict[str, int]:
    sizes = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            sizes[f"L{level}{_CACHE_KINDS.get(kind, '')}"] = _bytes(size)
        except (OSError, ValueError):
            continue
    return sizes


_CACHE_KINDS = {"Data": "d", "Instruction": "i"}


def _bytes(size: str) -> int:
    """
    >>> _bytes("48K"), _bytes("2M")
    (49152, 2097152)
    """
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size)


def _versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        installed["compiler"] = find_compiler().version
    except SpokeshaveError:
        return installed
    return installed
