"""Saved deployments of every kind."""

from pathlib import Path

from spokeshave.compiler.integers.deployment import MARKER, IntegerDeployment, load_integer_deployment
from spokeshave.compiler.native import NativeDeployment, load_deployment


def load_saved(folder: Path | str) -> NativeDeployment | IntegerDeployment:
    """Load a deployment, in native code or in whole numbers; raises SpokeshaveError when the folder is none."""
    if (Path(folder) / MARKER).is_file():
        return load_integer_deployment(folder)
    return load_deployment(folder)
