"""The folder of a saved deployment: written whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from spokeshave.compiler.generated import Generated
from spokeshave.compiler.manifest import LIBRARY, MANIFEST, SOURCE, WEIGHTS, write_manifest
from spokeshave.compiler.weights_file import save_weights
from spokeshave.errors import SpokeshaveError


def save_deployment(generated: Generated, library: Path, folder: Path | str) -> None:
    """Write manifest, C source, weights and library to a folder, which must be new, empty or a deployment.

    The folder appears whole or not at all. Raises SpokeshaveError when it holds something else or cannot be written.
    """

    def write(whole: Path) -> None:
        (whole / SOURCE).write_text(generated.source)
        shutil.copyfile(library, whole / LIBRARY)
        save_weights(generated.tensors, whole / WEIGHTS)
        write_manifest(generated.manifest, whole)

    write_folder(Path(folder), "deployment", MANIFEST, write)


def write_folder(folder: Path, kind: str, marker: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder next to `folder`, then put it in its place.

    `kind` says what the folder will hold and `marker` names the file by which one of that kind, which may be replaced,
    is known.
    """
    check_output_folder(folder, kind, marker)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            write(whole)
            _replace_folder(whole, folder, Path(temporary) / "old")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpokeshaveError(
            f"could not save the {kind} to {folder}: {reason}; nothing was written"
        ) from error


def check_output_folder(folder: Path, kind: str = "deployment", marker: str = MANIFEST) -> None:
    """Raise SpokeshaveError unless `folder` is new, empty, or holds one of its kind, which may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SpokeshaveError(f"{folder} is a file; name a folder for the {kind}")
    if any(folder.iterdir()) and not (folder / marker).is_file():
        raise SpokeshaveError(f"{folder} holds something else than a {kind}; name a new or empty folder")


def _replace_folder(new: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    new.rename(target)
