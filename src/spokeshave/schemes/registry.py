"""Schemes by name, from and to plain dictionaries."""

from dataclasses import MISSING, Field, fields
from typing import Any

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.stacked import Stacked
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks

SCHEMES: dict[str, type] = {
    "unstructured": Unstructured,
    "block_column_row": BlockColumnRow,
    "block_structured": BlockStructured,
    "compressed_blocks": CompressedBlocks,
    "blocks": Blocks,
    "block_punched": BlockPunched,
    "n_of_m": NOfM,
    "density_adaptive_blocks": DensityAdaptiveBlocks,
    "patterns": Patterns,
    "crossbar_pruned": CrossbarPruned,
    "polarized": Polarized,
    "fixed_point": FixedPoint,
    "power_of_two": PowerOfTwo,
    "binary": Binary,
    "codebook": Codebook,
    "mixed_rows": MixedRows,
    "intersection": Intersection,
    "stacked": Stacked,
}


def scheme_from_dict(entry: dict[str, Any]) -> Scheme:
    """Make a scheme from `{"scheme": name, field: value, ...}`; raises SpokeshaveError naming what is wrong.

    >>> scheme_from_dict({"scheme": "unstructured", "sparsity": 0.9})
    Unstructured(sparsity=0.9)
    """
    if not isinstance(entry, dict):
        raise SpokeshaveError(f"a scheme is written as a name and its fields, not as {entry!r}")
    settings = dict(entry)
    name = settings.pop("scheme", None)
    if name not in list(SCHEMES):
        raise SpokeshaveError(f"there is no scheme {name!r}; known schemes are {', '.join(SCHEMES)}")
    known = _fields(SCHEMES[name])
    for key in settings:
        if key not in known:
            raise SpokeshaveError(f"{name} has no field {key!r}; its fields are {', '.join(known)}")
    for key, field in known.items():
        if field.default is MISSING and key not in settings:
            raise SpokeshaveError(f"{name} needs a {key}")
    scheme: Scheme = SCHEMES[name](**{key: _read(value) for key, value in settings.items()})
    return scheme


def scheme_to_dict(scheme: Scheme) -> dict[str, Any]:
    """The dictionary that `scheme_from_dict` takes; fields that have their default are left out.

    >>> scheme_to_dict(BlockColumnRow(0.9, block=(4, 32)))
    {'scheme': 'block_column_row', 'sparsity': 0.9, 'block': [4, 32]}
    """
    name = next((name for name, kind in SCHEMES.items() if type(scheme) is kind), None)
    if name is None:
        raise SpokeshaveError(f"{scheme!r} is no scheme that is registered")
    defaults = {key: field.default for key, field in _fields(SCHEMES[name]).items()}
    settings = {key: getattr(scheme, key) for key in defaults}
    changed = {key: _plain(value) for key, value in settings.items() if value != defaults[key]}
    return {"scheme": name, **changed}


def _fields(kind: type) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(kind)}


def _plain(value: Any) -> Any:
    if type(value) in SCHEMES.values():
        return scheme_to_dict(value)
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _read(value: Any) -> Any:
    """Undoes `_plain`: schemes may hold schemes."""
    if isinstance(value, dict) and "scheme" in value:
        return scheme_from_dict(value)
    return [_read(entry) for entry in value] if isinstance(value, list) else value
