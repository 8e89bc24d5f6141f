"""The data that goes by a name."""

from collections.abc import Callable, Mapping

from spokeshave.data.cifar10 import cifar10
from spokeshave.data.data import Data
from spokeshave.data.digits import digits
from spokeshave.errors import SpokeshaveError

DATA: Mapping[str, Callable[[], Data]] = {"digits": digits, "cifar10": cifar10}


def builtin_data(name: str) -> Data:
    """The data of that name; raises SpokeshaveError naming the known ones when there is none."""
    if name not in DATA:
        raise SpokeshaveError(f"there is no built-in data {name!r}; known ones are {', '.join(DATA)}")
    return DATA[name]()
