"""Writes an artefact's folder."""

import json
import re
from importlib import resources
from pathlib import Path
from string import Template

from spokeshave.compiler.artifact.tables import Contents, contents, fields
from spokeshave.compiler.artifact.weights import embedded
from spokeshave.compiler.folder import check_output_folder, write_folder
from spokeshave.compiler.generated import Generated
from spokeshave.errors import SpokeshaveError

KIND = "plain-C artefact"
RECORD, WEIGHTS, EMBEDDED = "artifact.json", "weights.bin", "weights.h"
TAKEN = ("main", "weights")  # files that every artefact has


def write_artifact(
    generated: Generated, folder: Path | str, name: str = "model", embed: bool = False
) -> None:
    """Write a network as plain C to a folder, which must be new, empty or an artefact.

    `name` names the source files and begins every public name in them, so that one application can hold several
    networks; `embed` writes the weights as a C array in place of a file. Raises SpokeshaveError when the network needs
    PyTorch, the name is not usable, or the folder holds something else or cannot be written.
    """
    check_name(name)
    found = contents(generated)
    texts = _texts(found, name, embed)

    def write(whole: Path) -> None:
        for file, text in texts.items():
            (whole / file).write_text(text)
        if not embed:
            (whole / WEIGHTS).write_bytes(found.weights.data)

    write_folder(Path(folder), KIND, RECORD, write)


def check_name(name: str) -> None:
    """Raise SpokeshaveError unless public C names can begin with `name`."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in TAKEN:
        raise SpokeshaveError(
            f"{name!r} cannot begin C names: use lower-case letters, digits and underscores"
        )


def check_artifact_folder(folder: Path) -> None:
    """Raise SpokeshaveError unless `folder` is new, empty, or an artefact, which may be replaced."""
    check_output_folder(folder, KIND, RECORD)


def _texts(found: Contents, name: str, embed: bool) -> dict[str, str]:
    values = fields(found, name) | {
        "create": f'{name}_create(&network, "{WEIGHTS}")',
        "include": "",
        "weights_file": EMBEDDED if embed else WEIGHTS,
    }
    if embed:
        values["create"] = f"{name}_create_from_memory(&network, {name}_weights, sizeof {name}_weights)"
        values["include"] = f'#include "{EMBEDDED}"\n'
    filled = {file: _template(file).substitute(values) for file in ("main.c", "Makefile", "README.md")}
    before, after = (_template(file).substitute(values) for file in ("prelude.c", "network.c"))
    source = before + found.generated.source + after
    record = {"format": 1, "name": name, "isa": found.isa.name, "flags": found.isa.c_flags}
    return (
        filled
        | {f"{name}.h": _template("network.h").substitute(values), f"{name}.c": source}
        | {RECORD: json.dumps(record, indent=1)}
        | ({EMBEDDED: embedded(found.weights.data, name)} if embed else {})
    )


def _template(file: str) -> Template:
    return Template(resources.files("spokeshave.compiler.artifact").joinpath("templates", file).read_text())
