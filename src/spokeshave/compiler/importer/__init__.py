"""From `torch.export` to the compiler's graph."""

from spokeshave.compiler.importer.program import Imported, import_program
from spokeshave.compiler.importer.structure import OutputStructure

__all__ = ["Imported", "OutputStructure", "import_program"]
