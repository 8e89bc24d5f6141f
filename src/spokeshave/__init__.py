"""Fits a neural network to a device: pruned, compiled, and measurably faster there."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are imported when they are first used: `spokeshave --help` must not wait for PyTorch.
_HOMES = {
    "ADMM": "spokeshave.methods",
    "BlockColumnRow": "spokeshave.schemes.block_column_row",
    "Data": "spokeshave.data",
    "MaskedFineTuning": "spokeshave.methods",
    "NativeDeployment": "spokeshave.compiler",
    "OneShot": "spokeshave.methods",
    "Plan": "spokeshave.plan",
    "Recipe": "spokeshave.fit",
    "Rule": "spokeshave.plan",
    "SpokeshaveError": "spokeshave.errors",
    "Unstructured": "spokeshave.schemes.unstructured",
    "begin": "spokeshave.methods",
    "compile_network": "spokeshave.compiler",
    "evaluate": "spokeshave.measure",
    "load_deployment": "spokeshave.compiler",
    "load_device": "spokeshave.devices",
    "resume_run": "spokeshave.fit",
    "side_by_side": "spokeshave.measure",
    "start_run": "spokeshave.fit",
    "trace": "spokeshave.workload",
    "train": "spokeshave.methods",
}

if TYPE_CHECKING:
    from spokeshave.compiler import NativeDeployment, compile_network, load_deployment
    from spokeshave.data import Data
    from spokeshave.devices import load_device
    from spokeshave.errors import SpokeshaveError
    from spokeshave.fit import Recipe, resume_run, start_run
    from spokeshave.measure import evaluate, side_by_side
    from spokeshave.methods import ADMM, MaskedFineTuning, OneShot, begin, train
    from spokeshave.plan import Plan, Rule
    from spokeshave.schemes.block_column_row import BlockColumnRow
    from spokeshave.schemes.unstructured import Unstructured
    from spokeshave.workload import trace

__all__ = [
    "ADMM",
    "BlockColumnRow",
    "Data",
    "MaskedFineTuning",
    "NativeDeployment",
    "OneShot",
    "Plan",
    "Recipe",
    "Rule",
    "SpokeshaveError",
    "Unstructured",
    "begin",
    "compile_network",
    "evaluate",
    "load_deployment",
    "load_device",
    "resume_run",
    "side_by_side",
    "start_run",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spokeshave' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
