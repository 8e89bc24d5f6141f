"""Built-in data, and the shape that data of the user's own takes."""

from spokeshave.data.builtin import DATA, builtin_data
from spokeshave.data.cifar10 import cifar10
from spokeshave.data.data import Batches, Data
from spokeshave.data.digits import digits

__all__ = ["DATA", "Batches", "Data", "builtin_data", "cifar10", "digits"]
