"""What PyTorch runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Foreign:
    """An operator without a kernel here, run by PyTorch between compiled segments.

    `target` is the ATen overload (`aten.sort.stable`). `arguments` is a JSON text, a list of positional arguments and
    a dictionary of keyword arguments, where {"value": name} stands for a value, {"weight": name} for a weight,
    {"dtype": name} for an element type and {"device": "cpu"} for where it runs. Values always have the sample axis in
    front; {"value": name, "unbatched": true} is the value without it. `reason` says why it was not compiled.
    """

    target: str
    arguments: str
    reason: str
