"""Crossbars that compute: tiles of word and bit lines, and what reads their columns."""

from spokeshave.devices.crossbars.array import Array
from spokeshave.devices.crossbars.programmed import Programmed, program
from spokeshave.devices.crossbars.skipping import effective_cycles

__all__ = ["Array", "Programmed", "effective_cycles", "program"]
