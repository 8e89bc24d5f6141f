"""The table of operators that have typed operations: ATen name (without overload) -> import function."""

from collections.abc import Mapping

from spokeshave.compiler.importer import (
    attention,
    convolution,
    logic,
    normalisation,
    pieces,
    pointwise,
    pooling,
    products,
    recurrent,
    routing,
    shapes,
    transposed,
)
from spokeshave.compiler.importer.context import ImportFunction

OPERATORS: Mapping[str, ImportFunction] = {
    **convolution.OPERATORS,
    **transposed.OPERATORS,
    **pooling.OPERATORS,
    **pointwise.OPERATORS,
    **normalisation.OPERATORS,
    **shapes.OPERATORS,
    **pieces.OPERATORS,
    **products.OPERATORS,
    **routing.OPERATORS,
    **recurrent.OPERATORS,
    **attention.OPERATORS,
    **logic.OPERATORS,
}

# These look at element types themselves; everything else is compiled for float32 alone.
ANY_TYPE = frozenset(
    (*shapes.COPIES, *shapes.DROPOUTS, *shapes.MOVES, *attention.OPERATORS, *logic.OPERATORS)
)
