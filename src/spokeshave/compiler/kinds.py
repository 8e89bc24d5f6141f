"""What the folders that deployments are saved in are called, by the file that each is known by."""

from pathlib import Path

KINDS = {
    "manifest.json": "a compiled deployment",
    "integers.json": "a deployment in whole numbers",
    "crossbars.json": "a deployment on crossbars",
    "columns.json": "a deployment on superconducting columns",
    "artifact.json": "plain C, which its README.md says how to build",
}


def reason_missing(folder: Path, marker: str) -> str:
    """Why a folder that lacks a deployment's file is none: what it holds instead, where that is known."""
    found = kind_told(folder)
    return f"it holds no {marker}" if found is None else f"it is {found}"


def kind_told(folder: Path) -> str | None:
    """What a folder holds instead of what was looked for there; None where that is not known."""
    return next((kind for marker, kind in KINDS.items() if (folder / marker).is_file()), None)
