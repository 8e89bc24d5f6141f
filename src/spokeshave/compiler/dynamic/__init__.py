"""Axes whose length is the caller's: a network imported at several lengths tells which follow them."""

from spokeshave.compiler.dynamic.extent import Extent, at_lengths, counted, extents_of, lengths_given
from spokeshave.compiler.dynamic.follow import compared_lengths, follow_lengths
from spokeshave.compiler.dynamic.lengths import Dynamic, Length, lengths_of, resized

__all__ = [
    "Dynamic",
    "Extent",
    "Length",
    "at_lengths",
    "compared_lengths",
    "counted",
    "extents_of",
    "follow_lengths",
    "lengths_given",
    "lengths_of",
    "resized",
]
