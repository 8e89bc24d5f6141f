"""Measured costs of layers, kept on disk: timed once for each shape, scheme, instruction set and compiler."""

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from spokeshave.compiler.build import find_compiler
from spokeshave.devices.layer_timing import LayerCost, time_layer
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder
from spokeshave.schemes.registry import scheme_to_dict
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer


@dataclass(frozen=True)
class Setting:
    """What a measurement hangs on besides the layer: the CPU's name and an instruction set of it."""

    cpu: str
    isa: str


def measured_cost(layer: Layer, scheme: Scheme | None, setting: Setting) -> LayerCost:
    """The cost of a layer, from the cache when the same has been timed before.

    The cache is `layers` in the user's cache folder, one JSON file a layer; what cannot be read is timed
    again.
    """
    key = layer_key(layer, scheme, setting)
    path = (
        cache_folder()
        / "layers"
        / f"{sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.json"
    )
    known = _read(path, key)
    if known is not None:
        return known
    cost = time_layer(layer, scheme, setting.isa)
    write_entry(path, {"key": key, **asdict(cost)})
    return cost


def layer_key(layer: Layer, scheme: Scheme | None, setting: Setting) -> dict[str, Any]:
    """Everything that a layer's cost hangs on; names of layers and parameters do not count."""
    shape = replace(layer, name="", parameter=layer.parameter and "weight", bias=layer.bias and "bias")
    return {
        "layer": json.loads(json.dumps(asdict(shape))),
        "scheme": None if scheme is None else scheme_to_dict(scheme),
        **asdict(setting),
        "compiler": find_compiler().version,
        "kernels": kernel_digest(),
        "torch": torch.__version__,
    }


@cache
def kernel_digest() -> str:
    """Digest of the compiler's own source: other kernels take other times."""
    folder = Path(str(files("spokeshave.compiler")))
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".toml", ".c", ".h")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _read(path: Path, key: dict[str, Any]) -> LayerCost | None:
    try:
        entry = json.loads(path.read_text())
        return LayerCost(float(entry["seconds"]), int(entry["weight_bytes"])) if entry["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_entry(path: Path, entry: dict[str, Any]) -> None:
    """Write beside and rename, so that another process never reads half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
            json.dump(entry, file)
        Path(file.name).replace(path)
    except OSError as error:
        raise SpokeshaveError(f"cannot write the cache file {path}: {error.strerror}") from error
