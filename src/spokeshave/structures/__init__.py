"""Filters, channels and attention heads taken out of a network, so that its tensors really shrink."""

from spokeshave.structures.budget import MultiplyAdds
from spokeshave.structures.remove import Smaller, remove_structures

__all__ = ["MultiplyAdds", "Smaller", "remove_structures"]
