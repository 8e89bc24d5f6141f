"""The table of operators that have typed operations: ATen name (without overload) -> import function."""

from collections.abc import Mapping

from spokeshave.compiler.importer import (
    convolution,
    normalisation,
    pieces,
    pointwise,
    pooling,
    recurrent,
    shapes,
)
from spokeshave.compiler.importer.context import ImportFunction

OPERATORS: Mapping[str, ImportFunction] = {
    **convolution.OPERATORS,
    **pooling.OPERATORS,
    **pointwise.OPERATORS,
    **normalisation.OPERATORS,
    **shapes.OPERATORS,
    **pieces.OPERATORS,
    **recurrent.OPERATORS,
}

# Copies serve values of every element type; everything else is compiled for float32 alone.
ANY_TYPE = frozenset((*shapes.COPIES, *shapes.DROPOUTS))
