"""Tensors from and to files: `.npy` (never pickled objects) and `.safetensors`."""

from pathlib import Path
from typing import TYPE_CHECKING

from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".npy", ".safetensors")


def read_arrays(path: Path) -> "dict[str, Tensor]":
    """The tensors of a file by name; a `.npy` file holds one, named like the file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise SpokeshaveError(f"there is no file {path}")
    try:
        if path.suffix == ".npy":
            return {path.stem: _read_npy(path)}
        if path.suffix == ".safetensors":
            return load_file(path)
    except (ValueError, OSError, EOFError, TypeError, SafetensorError) as error:
        raise SpokeshaveError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    raise SpokeshaveError(f"{path} is neither .npy nor .safetensors")


def write_arrays(path: Path, arrays: "dict[str, Tensor]") -> None:
    """Write tensors to a file, whole or not at all; a `.npy` file takes one only."""
    from safetensors.torch import save

    from spokeshave.atomic import write_atomically

    if path.suffix == ".npy" and len(arrays) != 1:
        raise SpokeshaveError(
            f"the network has {len(arrays)} outputs, {path.name} holds one; name a .safetensors file"
        )
    try:
        if path.suffix == ".npy":
            write_atomically(path, _npy_bytes(next(iter(arrays.values()))))
        else:
            write_atomically(path, save({name: tensor.contiguous() for name, tensor in arrays.items()}))
    except OSError as error:
        raise SpokeshaveError(f"could not write {path}: {(error.strerror or str(error)).lower()}") from error


def _read_npy(path: Path) -> "Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.load(path, allow_pickle=False))


def _npy_bytes(tensor: "Tensor") -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, tensor.numpy(), allow_pickle=False)
    return buffer.getvalue()
