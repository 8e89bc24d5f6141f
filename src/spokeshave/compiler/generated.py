"""A network as C, before any compiler has seen it: what every target starts from."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from spokeshave.compiler.manifest import Manifest


@dataclass(frozen=True)
class Generated:
    """Manifest, C source and packed tensors (by the names that the manifest's stages use)."""

    manifest: Manifest
    source: str
    tensors: Mapping[str, Tensor]
