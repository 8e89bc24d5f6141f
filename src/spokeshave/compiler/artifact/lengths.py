"""What an artefact says and does about lengths that are the caller's; empty where there are none."""

import re
from collections.abc import Sequence
from math import prod

import torch

from spokeshave.compiler.dynamic import Extent, counted
from spokeshave.compiler.manifest import Manifest, ValueRecord


def length_fields(
    manifest: Manifest, name: str, inputs: Sequence[ValueRecord], outputs: Sequence[ValueRecord]
) -> dict[str, object]:
    """Fills the templates' placeholders; every size is a C expression of `length[0]`, `length[1]` ..."""
    if not manifest.lengths:
        plain = {
            "length_count": 0,
            "input_bytes": f"{name}_input(i)->bytes",
            "output_bytes": f"{name}_output(i)->bytes",
        }
        return plain | dict.fromkeys(EMPTY, "")
    names = [re.sub(r"[^\w.-]", "_", length, flags=re.ASCII) for length in manifest.lengths]
    rows = list(zip(names, manifest.capacity, strict=True))
    greatest = ", ".join(map(str, manifest.capacity))
    functions = [
        _function(manifest, name, kind, rows) for kind, rows in (("input", inputs), ("output", outputs))
    ]
    return {
        "length_count": len(manifest.lengths),
        "input_bytes": f"{name}_input_bytes(i, length)",
        "output_bytes": f"{name}_output_bytes(i, length)",
        "length_declarations": _named(_DECLARATIONS, name).replace("COUNT", str(len(manifest.lengths))),
        "length_definitions": _definitions(rows, name) + "".join(functions),
        "length_parameter": ", const int *length",
        "length_argument": ", length",
        "length_checks": f"    if (!lengths_are_right(length)) return {name.upper()}_BAD_ARGUMENT;\n",
        "length_usage": "".join(f"{length.upper()} " for length in names),
        "length_reading": _READING.replace("GREATEST", greatest),
        "length_table": _TABLE
        + "".join(f"| length[{i}] | {length} | {most} |\n" for i, (length, most) in enumerate(rows)),
    }


def sample_bytes(manifest: Manifest, record: ValueRecord) -> str:
    """Bytes of one sample as a C expression."""
    sizes = list(record.shape[1:])
    for extent in _extents(manifest, record):
        sizes[extent.axis - 1] = counted(extent, manifest.capacity)
    return f"(size_t){prod(sizes, start=getattr(torch, record.dtype).itemsize)}"


def _extents(manifest: Manifest, record: ValueRecord) -> list[Extent]:
    return [extent for extent in manifest.dynamic if extent.value == record.name]


def _definitions(rows: Sequence[tuple[str, int]], name: str) -> str:
    table = "\n".join(f'    {{"{length}", {most}}},' for length, most in rows)
    return _named(_DEFINITIONS, name).replace("ROWS", table)


def _named(text: str, name: str) -> str:
    return text.replace("NAME_", f"{name.upper()}_").replace("name_", f"{name}_")


def _function(manifest: Manifest, name: str, kind: str, records: Sequence[ValueRecord]) -> str:
    cases = "".join(f"    case {i}: return {sample_bytes(manifest, r)};\n" for i, r in enumerate(records))
    return (
        f"\nsize_t {name}_{kind}_bytes(int index, const int *length) {{\n"
        "    if (!lengths_are_right(length)) return 0;\n"
        f"    switch (index) {{\n{cases}    }}\n    return 0;\n}}\n"
    )


_TABLE = """
## Lengths

Shapes and bytes above are those of the greatest lengths.

| | name | greatest |
|---|---|---|
"""

EMPTY = (
    *("length_declarations", "length_definitions", "length_parameter", "length_argument", "length_checks"),
    *("length_usage", "length_reading", "length_table"),
)

_DECLARATIONS = """
/* Axes whose lengths are the caller's, from 1 to the greatest. What name_input and name_output say holds for the
   greatest lengths; below, `length` holds NAME_LENGTHS of them, and a size is 0 where one of these is out of range. */
enum { NAME_LENGTHS = COUNT };
typedef struct {
    const char *name;
    int greatest;
} name_length;
const name_length *name_changing(int index);                /* NULL when there is no such length */
size_t name_input_bytes(int index, const int *length);  /* of one sample */
size_t name_output_bytes(int index, const int *length); /* of one sample */
"""

_DEFINITIONS = """
static const name_length changing[] = {
ROWS
};

const name_length *name_changing(int index) {
    return index >= 0 && index < NAME_LENGTHS ? &changing[index] : NULL;
}

static int lengths_are_right(const int *length) {
    for (int i = 0; length && i < NAME_LENGTHS; i++)
        if (length[i] < 1 || length[i] > changing[i].greatest) return 0;
    return length != NULL;
}
"""

_READING = """    int length[] = {GREATEST};
    for (int i = 0; from_files && i < LENGTHS; i++) length[i] = atoi(argv[1 + i]);
"""
