"""Checks that schemes share: every failure is one sentence."""

from math import isfinite
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from spokeshave.schemes.scheme import Scheme


def is_number(value: object) -> bool:
    """Whether this is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def check_above(owner: str, field: str, value: float, bound: float = 0) -> None:
    """Raise SpokeshaveError unless `value` is a finite number above `bound`."""
    if not is_number(value) or not value > bound:
        raise SpokeshaveError(f"{owner}: {field} must be above {bound:g} and finite, not {value!r}")


def check_least(owner: str, field: str, value: float, least: float) -> None:
    """Raise SpokeshaveError unless `value` is a finite number of at least `least`."""
    if not is_number(value) or not value >= least:
        raise SpokeshaveError(f"{owner}: {field} must be at least {least:g} and finite, not {value!r}")


def check_fraction(owner: str, field: str, value: float) -> None:
    """Raise SpokeshaveError unless 0 <= value < 1."""
    if not is_number(value) or not 0 <= value < 1:
        raise SpokeshaveError(f"{owner}: {field} must be a number in [0, 1), not {value!r}")


def check_rates(owner: str, sparsity: float, row_sparsity: float) -> None:
    """Raise SpokeshaveError unless both are fractions and the rows alone remove no more than may go."""
    check_fraction(owner, "sparsity", sparsity)
    check_fraction(owner, "row_sparsity", row_sparsity)
    if row_sparsity > sparsity:
        rates = f"row_sparsity {row_sparsity} must not be above sparsity {sparsity}"
        raise SpokeshaveError(f"{owner}: {rates}, for it alone would remove more")


def check_count(owner: str, field: str, value: int, least: int = 1) -> None:
    """Raise SpokeshaveError unless `value` is a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise SpokeshaveError(f"{owner}: {field} must be a whole number from {least} up, not {value!r}")


def check_share(owner: str, field: str, value: float) -> None:
    """Raise SpokeshaveError unless 0 < value <= 1."""
    if not is_number(value) or not 0 < value <= 1:
        raise SpokeshaveError(f"{owner}: {field} must be above 0 and at most 1, not {value!r}")


def check_flag(owner: str, field: str, value: bool) -> None:
    """Raise SpokeshaveError unless `value` is a truth value, and no number or text that would pass for one."""
    if type(value) is not bool:
        raise SpokeshaveError(f"{owner}: {field} must be True or False, not {value!r}")


def check_patterns(owner: str, field: str, value: object) -> None:
    """Raise SpokeshaveError unless these are patterns of layers; a single text would be taken for its letters."""
    if not isinstance(value, list | tuple) or not all(isinstance(pattern, str) for pattern in value):
        raise SpokeshaveError(
            f'{owner}: {field} must be patterns of layers, such as ("head",), not {value!r}'
        )


def check_function(owner: str, field: str, value: object) -> None:
    """Raise SpokeshaveError unless `value` can be called."""
    if not callable(value):
        raise SpokeshaveError(f"{owner}: {field} must be a function, not {value!r}")


def check_passes(owner: str, passes: int | None) -> None:
    """Raise SpokeshaveError unless so many batches can be gone through: None is all of them."""
    if passes is not None:
        check_count(owner, "passes", passes)


def check_choice(owner: str, field: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise SpokeshaveError unless `value` is one of two choices or more."""
    if value not in choices:
        raise SpokeshaveError(f"{owner}: {field} must be {' or '.join(map(repr, choices))}, not {value!r}")


def as_block(owner: str, block: object) -> tuple[int, int]:
    """A block as a tuple, for YAML and JSON know lists only; raise SpokeshaveError unless it is rows x columns."""
    numbers = tuple(block) if isinstance(block, tuple | list) else ()
    if len(numbers) != 2 or not all(type(number) is int and number > 0 for number in numbers):
        raise SpokeshaveError(f"{owner}: block must be two positive whole numbers, not {block!r}")
    return numbers


def check_shape(shape: object) -> None:
    """Raise SpokeshaveError unless this is a weight's shape: a tuple of whole numbers above 0."""
    if not isinstance(shape, tuple) or not all(type(size) is int and size > 0 for size in shape):
        raise SpokeshaveError(f"a scheme: a shape must be a tuple of sizes above 0, not {shape!r}")


def matrix_reason(shape: tuple[int, ...]) -> str | None:
    """Why a weight of this shape is no matrix, or None: it has two axes or more."""
    check_shape(shape)
    return None if len(shape) > 1 else f"{shape} is not a matrix"


def block_reason(block: tuple[int, int], shape: tuple[int, ...]) -> str | None:
    """Why a block does not suit a weight of this shape, or None: it must not be larger than the matrix."""
    check_shape(shape)
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    if len(shape) > 1 and block[0] <= rows and block[1] <= columns:
        return None
    matrix = f"{rows} x {columns}, which is the largest that would do"
    return f"a block of {block[0]} x {block[1]} is larger than the weight's matrix, {matrix}"


def empty_reason(kept: float, sparsity: float, least: int, total: int, unit: str) -> str | None:
    """Why a sparsity is too high, or None: nothing of `total` is kept, and a unit of `least` is what can be."""
    most = f"{1 - least / total:.10g}"
    return (
        None
        if kept
        else f"a sparsity of {sparsity} leaves no {unit}; for this shape it can be {most} at most"
    )


def check_weight(owner: str, scheme: "Scheme", weight: Tensor, saliency: Tensor | None = None) -> None:
    """Raise SpokeshaveError unless the scheme supports the weight and all is finite and of one shape."""
    check_tensor(owner, "weight", weight)
    if saliency is not None:
        check_tensor(owner, "saliency", saliency)
    if weight.dim() < 2 or weight.numel() == 0 or not weight.is_floating_point():
        found = f"{weight.dtype} of shape {tuple(weight.shape)}".removeprefix("torch.")
        raise SpokeshaveError(f"{owner}: a weight must be floating-point with two axes or more, not {found}")
    if saliency is not None and saliency.shape != weight.shape:
        shapes = f"{tuple(saliency.shape)} but the weight {tuple(weight.shape)}"
        raise SpokeshaveError(f"{owner}: the saliency has shape {shapes}")
    if reason := scheme.supports(tuple(weight.shape)):
        raise SpokeshaveError(f"{owner}: {reason}")
    for name, values in (("weight", weight), ("saliency", saliency)):
        if values is not None:
            check_finite(owner, name, values)


def check_finite(owner: str, name: str, values: Tensor) -> None:
    """Raise SpokeshaveError for infinite values and NaN."""
    if not torch.isfinite(values).all():
        raise SpokeshaveError(
            f"{owner}: the {name} holds infinite values or NaN; nothing can be ranked by it"
        )


def check_tensor(owner: str, name: str, thing: object) -> None:
    """Raise SpokeshaveError unless this is a dense tensor that has values."""
    if not isinstance(thing, Tensor):
        raise SpokeshaveError(f"{owner}: the {name} must be a tensor, not of type {type(thing).__name__}")
    if thing.layout is not torch.strided or thing.is_meta:
        raise SpokeshaveError(
            f"{owner}: the {name} must be dense and have values, not {thing.layout} on {thing.device}"
        )
    if thing.is_floating_point() and thing.dtype.itemsize == 1:
        raise SpokeshaveError(
            f"{owner}: PyTorch does not compute in {thing.dtype}; give the {name} as .float()"
        )


def shape_of(weight: Tensor) -> tuple[int, ...]:
    """The shape of a weight that may be anything; raises SpokeshaveError for what is no tensor, or an empty one."""
    check_tensor("a scheme", "weight", weight)
    if not weight.numel():
        raise SpokeshaveError(f"a scheme: the weight is empty, of shape {tuple(weight.shape)}")
    return tuple(weight.shape)


def check_member(owner: str, scheme: "Scheme", weight: Tensor, why: str = "") -> None:
    """Raise SpokeshaveError unless the weight lies in the scheme; `why` says what may be wrong with it."""
    check_weight(owner, scheme, weight)
    if not scheme.contains(weight):
        found = f"a weight of shape {tuple(weight.shape)} does not lie in {scheme}"
        raise SpokeshaveError(f"{found}: {why}; project it first" if why else f"{found}; project it first")
