"""A network as plain C that an application takes in: source, header, weights and an example."""

from spokeshave.compiler.artifact.program import build_example, run_as_c, run_example, why_not_checked
from spokeshave.compiler.artifact.write import check_artifact_folder, check_name, write_artifact

__all__ = [
    "build_example",
    "check_artifact_folder",
    "check_name",
    "run_as_c",
    "run_example",
    "why_not_checked",
    "write_artifact",
]
