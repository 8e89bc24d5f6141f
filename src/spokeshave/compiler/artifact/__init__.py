"""A network as plain C that an application takes in: source, header, weights and an example."""

from spokeshave.compiler.artifact.write import check_artifact_folder, check_name, write_artifact

__all__ = ["check_artifact_folder", "check_name", "write_artifact"]
