"""Compiled networks in the user's cache folder, under a digest of everything that decides what is compiled.

An entry is a saved deployment, so its files are checked before they are used; one that is damaged is compiled again.
The digest covers this package's own text, so an entry never outlives the compiler that made it.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from spokeshave.compiler.build import Compiler
from spokeshave.compiler.folder import save_deployment
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.native import read_generated
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder

MOST_BYTES = 4 * 2**30
PIECE_BYTES = 4 * 2**20
TIDYING = (
    16  # one key in so many tidies the folder: looking at every entry each time takes longer than keeping one
)


def network_key(
    programs: Sequence[ExportedProgram],
    compiler: Compiler,
    settings: tuple[Any, ...],
    samples: Sequence[Sequence[Tensor]] = (),
) -> str:
    """Digest of a network with its weights, of the C compiler, of this package's text, `settings` and `samples`.

    The network is given as its exports by several lengths where these may change; they share their weights.
    """
    digest = sha256(repr((package_digest(), torch.__version__, compiler, settings)).encode())
    seen: dict[str, Any] = {}
    for program in programs:
        digest.update(str(program).encode())
        for node in program.graph.nodes:
            digest.update(repr((node.name, list(node.meta.get("nn_module_stack", {}).values()))).encode())
        held = {**program.state_dict, **program.constants}
        for name, tensor in held.items():
            if seen.get(name) is not tensor:
                _add(digest, name, tensor)
        seen |= held
    for sample in samples:
        for position, tensor in enumerate(sample):
            _add(digest, str(position), tensor)
    return digest.hexdigest()[:32]


def _add(digest: Any, name: str, tensor: Any) -> None:
    digest.update(repr((name, getattr(tensor, "dtype", None), getattr(tensor, "shape", None))).encode())
    if isinstance(tensor, Tensor):
        for piece in _digests(_bytes(tensor)):
            digest.update(piece)


def _digests(content: memoryview) -> Iterable[bytes]:
    """Digests of the pieces of some bytes; those of large weights are made on all cores."""
    pieces = [content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES)]
    if len(pieces) < 2:
        return map(_digest, pieces)
    with ThreadPoolExecutor() as pool:
        return pool.map(_digest, pieces)


def _digest(piece: memoryview) -> bytes:
    return sha256(piece).digest()


def cached_network(key: str) -> Generated | None:
    """The network that was kept under `key`, unless it is gone or damaged."""
    folder = _folder() / key
    if not folder.is_dir():
        return None
    try:
        generated = read_generated(folder)
        folder.touch()
    except Exception:  # however an entry is damaged, the network is compiled again
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return generated


def keep_network(key: str, generated: Generated, library: Path) -> None:
    """Keep a compiled network, and now and then drop those unused for longest while all take more than 4 GiB.

    A network that cannot be kept, on a full disk for example, is compiled again the next time.
    """
    with suppress(SpokeshaveError, OSError):
        save_deployment(generated, library, _folder() / key)
        if int(key, 16) % TIDYING == 0:
            _drop_oldest(key)


def _drop_oldest(newest: str) -> None:
    entries = sorted(_folder().iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(file.stat().st_size for file in entry.iterdir())
        if total > MOST_BYTES and entry.name != newest:
            shutil.rmtree(entry, ignore_errors=True)


def _folder() -> Path:
    return cache_folder() / "networks"


def _bytes(tensor: Tensor) -> memoryview:
    """The tensor's elements as a buffer, without a copy where they lie in order."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


@cache
def package_digest() -> str:
    """Digest of the text of the compiler and the schemes: what it compiles may differ when this does."""
    digest = sha256()
    for path in _package_files():
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _package_files() -> Iterator[Path]:
    root = Path(__file__).parents[1]
    for room in ("compiler", "schemes"):
        yield from sorted(path for path in (root / room).rglob("*") if path.suffix in (".py", ".h", ".toml"))
