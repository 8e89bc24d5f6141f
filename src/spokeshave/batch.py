"""Where a network has its batch: found by running it on two different samples, together and one by one.

A deployment runs sample by sample, so a network whose samples know of each other must not become one.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_unflatten

from spokeshave.errors import SpokeshaveError
from spokeshave.export import check_exportable, evaluating, flattened_example, one_sample
from spokeshave.nesting import flattened

MOST_INPUTS = 6  # of networks whose inputs may each have another batch axis: 2 ** 6 ways to try
# Of the largest number: rounding is well below, or goes away in double precision, and mixed samples are above.
FLOAT32_ERROR, FLOAT64_ERROR = 1e-5, 1e-8
TURNED = 1e-3  # by how much weights are turned, of themselves, so that no sum is 0
LARGE_ERROR = 1e-2  # beyond what a rounding step that fell the other way does to a mean

Leaves = tuple[Tensor, ...]
Run = Callable[[Leaves], Leaves]


@dataclass(frozen=True)
class BatchAxes:
    """The batch axis of every input and of every output tensor, in order.

    An output that is the same for all samples has None; `outputs` is None where the network takes one sample only.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...] | None

    @property
    def in_front(self) -> bool:
        """Whether every input has its samples along the first axis."""
        return not any(self.inputs)


class _MixedError(Exception):
    """Two samples together give something else than one by one."""


def find_batch_axes(network: nn.Module | ExportedProgram, example: Tensor | tuple[Any, ...]) -> BatchAxes:
    """The batch axes of a network: the first axis of every input, else the second of some, as in recurrent layers.

    Raises SpokeshaveError where samples are mixed either way.

    >>> find_batch_axes(nn.GRU(3, 4), torch.zeros(7, 1, 3))
    BatchAxes(inputs=(1,), outputs=(1, 1))
    """
    check_exportable(network)
    one_sample(example)  # says what is wrong with an example
    leaves, nesting = flattened_example(example)
    module = network.module() if isinstance(network, ExportedProgram) else network
    unknown = BatchAxes((0,) * len(leaves), None)
    mixed, alone = None, False
    training = nn.Module() if isinstance(network, ExportedProgram) else module
    with evaluating(training), torch.random.fork_rng(devices=[]), torch.no_grad():
        for axes in _candidates(leaves):
            try:
                return BatchAxes(axes, _output_axes(module, nesting, leaves, axes))
            except _MixedError as error:
                mixed = mixed or error
            except Exception:  # the network cannot run so; what is wrong with it, its export says
                alone = alone or not any(axes)
    if mixed is None or alone:
        return unknown
    raise SpokeshaveError(
        f"the network mixes the samples of a batch: {mixed}; a deployment runs each sample by itself, so keep what an "
        "operator computes within one sample"
    )


def first_sample(network: nn.Module | ExportedProgram, example: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    """The first sample of every input, wherever the network has its batch; in front where it mixes samples.

    Raises SpokeshaveError where the example is no batch of tensors.

    >>> first_sample(nn.GRU(3, 4), torch.zeros(7, 2, 3))[0].shape
    torch.Size([7, 1, 3])
    """
    return one_sample(example, sample_axes(network, example))


def sample_axes(
    network: nn.Module | ExportedProgram, example: Tensor | tuple[Any, ...]
) -> tuple[int, ...] | None:
    """The batch axis of every input; None, so in front, where samples are mixed: who asks runs one alone."""
    try:
        return find_batch_axes(network, example).inputs
    except SpokeshaveError:
        return None


def _candidates(leaves: Leaves) -> Iterator[tuple[int, ...]]:
    """Axes to try: samples in front, then second everywhere, then every other choice."""
    most = [min(tensor.dim(), 2) for tensor in leaves]
    yield (0,) * len(leaves)
    second = tuple(count - 1 for count in most)
    if any(second):
        yield second
    if len(leaves) <= MOST_INPUTS:
        for axes in product(*(range(count) for count in most)):
            if any(axes) and axes != second:
                yield axes


def _output_axes(
    module: nn.Module, nesting: TreeSpec, leaves: Leaves, axes: tuple[int, ...]
) -> tuple[int | None, ...]:
    first = tuple(tensor.narrow(axis, 0, 1) for tensor, axis in zip(leaves, axes, strict=True))
    second = tuple(_another(tensor) for tensor in first)
    together = tuple(torch.cat(pair, axis) for *pair, axis in zip(first, second, axes, strict=True))
    run = _runner(module, nesting)
    made = (run(together), run(first), run(second))
    try:
        return _joined(made, FLOAT32_ERROR)
    except _MixedError:
        if not _close(run(first), made[1], FLOAT32_ERROR):  # it draws random numbers: shapes alone tell
            return _joined(made, float("inf"))
        exact = _in_float64(module, nesting, (together, first, second))
        if exact:
            return _joined(exact, FLOAT64_ERROR)
        turned = _runner(_without_ties(copy.deepcopy(module)), nesting)
        return _joined((turned(together), turned(first), turned(second)), LARGE_ERROR)


def _in_float64(module: nn.Module, nesting: TreeSpec, given: tuple[Leaves, ...]) -> tuple[Leaves, ...] | None:
    """What the network gives in double precision, where rounding decides nothing; None where it cannot."""
    try:
        run = _runner(_without_ties(copy.deepcopy(module).double()), nesting)
        return tuple(run(tuple(t.double() if t.is_floating_point() else t for t in each)) for each in given)
    except Exception:  # the network insists on float32
        return None


def _without_ties(module: nn.Module) -> nn.Module:
    """The module with weights a little off, which mixes samples as before.

    Sums of equal sizes, as in binary networks, are 0 now and then, and rounding would decide their signs.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.is_floating_point():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.mul_(1 + TURNED * noise)
    return module


def _runner(module: nn.Module, nesting: TreeSpec) -> Run:
    """Runs a network on flat inputs, and leaves its buffers as they are."""

    def run(leaves: Leaves) -> Leaves:
        inputs = tree_unflatten([leaf.clone() for leaf in leaves], nesting)
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        outputs = functional_call(module, buffers, inputs) if buffers else module(*inputs)
        return tuple(leaf for leaf in flattened(outputs)[0] if isinstance(leaf, Tensor))

    return run


def _another(sample: Tensor) -> Tensor:
    """A sample that differs from another one, but is near it where numbers are no whole ones.

    So attention between samples, which looks for what is alike, shows.
    """
    turned = sample.flatten().roll(1).view(sample.shape)
    if not sample.is_floating_point():
        return turned
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(sample.shape, generator=generator).to(sample.dtype)
    return 0.9 * sample + 0.1 * turned + 0.2 * noise


def _joined(made: tuple[Leaves, ...], error: float) -> tuple[int | None, ...]:
    """The axis along which each output joins what single samples give."""
    if len({len(outputs) for outputs in made}) > 1:
        raise _MixedError("the number of its outputs changes with the number of samples")
    return tuple(
        _axis(place, both, first, second, error)
        for place, (both, first, second) in enumerate(zip(*made, strict=True))
    )


def _axis(place: int, both: Tensor, first: Tensor, second: Tensor, error: float) -> int | None:
    if both.shape == first.shape == second.shape:
        if _close((both, both), (first, second), error):
            return None
        raise _MixedError(f"output {place} has the shape {tuple(both.shape)} for any number of samples")
    for axis in range(both.dim()):
        sizes = [list(tensor.shape) for tensor in (both, first, second)]
        if len({len(shape) for shape in sizes}) > 1:
            break
        whole, *parts = (shape.pop(axis) for shape in sizes)
        if sizes[0] == sizes[1] == sizes[2] and whole == sum(parts):
            if _close((both,), (torch.cat((first, second), axis),), error):
                return axis
            break
    raise _MixedError(f"output {place} of two samples is not what each gives by itself")


def _close(found: Leaves, wanted: Leaves, error: float) -> bool:
    return all(_near(one, other, error) for one, other in zip(found, wanted, strict=True))


def _near(found: Tensor, wanted: Tensor, error: float) -> bool:
    if error == float("inf"):
        return True
    if not found.is_floating_point() and not found.is_complex():
        if error == LARGE_ERROR and found.numel():
            return (found != wanted).double().mean().item() <= error
        return torch.equal(found, wanted)
    scale = wanted[wanted.isfinite()].abs().max().item() if wanted.isfinite().any() else 0.0
    if error == LARGE_ERROR:
        return bool((found - wanted).nan_to_num().abs().mean() <= error * wanted.nan_to_num().abs().mean())
    return torch.allclose(found, wanted, rtol=0, atol=error * scale + 1e-30, equal_nan=True)
