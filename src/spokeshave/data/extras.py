"""Optional packages: one clear sentence when one is missing."""

import importlib
from types import ModuleType

from spokeshave.errors import SpokeshaveError


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a package of an extra; raises SpokeshaveError naming the extra when it is not installed.

    >>> import_extra("no_such_package", "digits", "the digits data")
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: the digits data needs an extra: pip install 'spokeshave[digits]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SpokeshaveError(f"{purpose} needs an extra: pip install 'spokeshave[{extra}]'") from error
