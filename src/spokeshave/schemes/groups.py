"""Which weights a scheme removes together: what a regulariser must draw to zero as one."""

from functools import singledispatch

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.stacked import Stacked
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks

Shape = tuple[int, ...]


@singledispatch
def groups_of(scheme: object, shape: Shape) -> tuple[Tensor, ...]:
    """One numbering of the weights for each kind of group, integers of `shape` from 0: equal numbers, one group.

    Blocks lose columns and, where rows go too, rows; patterns lose kernels; schemes that choose among single weights
    have groups of one. Raises SpokeshaveError for schemes that have no groups.

    >>> groups_of(BlockColumnRow(0.5, block=(2, 4)), (4, 4))[0]
    tensor([[0, 1, 2, 3],
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [4, 5, 6, 7]])
    """
    kinds = sorted(
        kind.__name__ for kind in groups_of.registry if kind not in (object, Stacked, Intersection)
    )
    raise SpokeshaveError(
        f"{scheme} has no groups of weights that could be drawn to zero together; those of {', '.join(kinds)} have, "
        "and what is combined with one of them by &"
    )


@groups_of.register
def _(scheme: Unstructured | NOfM | DensityAdaptiveBlocks, shape: Shape) -> tuple[Tensor, ...]:
    return (torch.arange(torch.Size(shape).numel()).view(shape),)


@groups_of.register
def _(scheme: BlockColumnRow, shape: Shape) -> tuple[Tensor, ...]:
    rows, columns = _rows(shape), _columns(shape)
    positions = torch.Size(shape[2:]).numel()
    channel_groups = columns // positions // scheme.column_group * positions + columns % positions
    by_column = _numbered(rows // scheme.block[0], channel_groups, shape)
    if not scheme.row_sparsity:
        return (by_column,)
    return by_column, _numbered(rows, columns // scheme.block[1], shape)


@groups_of.register
def _(scheme: BlockStructured, shape: Shape) -> tuple[Tensor, ...]:
    by_column = _numbered(_rows(shape) // scheme.block[0], _columns(shape), shape)
    return (by_column, _numbered(_rows(shape), 0, shape)) if scheme.row_sparsity else (by_column,)


@groups_of.register
def _(scheme: CompressedBlocks, shape: Shape) -> tuple[Tensor, ...]:
    rows, columns = _rows(shape), _columns(shape)
    by_column = _numbered(rows // scheme.block[0], columns, shape)
    return by_column, _numbered(rows, columns // scheme.block[1], shape)


@groups_of.register
def _(scheme: Blocks, shape: Shape) -> tuple[Tensor, ...]:
    return (_numbered(_rows(shape) // scheme.block[0], _columns(shape) // scheme.block[1], shape),)


@groups_of.register
def _(scheme: BlockPunched, shape: Shape) -> tuple[Tensor, ...]:
    columns, positions = _columns(shape), torch.Size(shape[2:]).numel()
    places = columns // positions // scheme.block[1] * positions + columns % positions
    return (_numbered(_rows(shape) // scheme.block[0], places, shape),)


@groups_of.register
def _(scheme: Patterns, shape: Shape) -> tuple[Tensor, ...]:
    return (_numbered(_rows(shape), _columns(shape) // torch.Size(shape[2:]).numel(), shape),)


@groups_of.register
def _(scheme: CrossbarPruned, shape: Shape) -> tuple[Tensor, ...]:
    return (scheme.unit_numbers(shape).contiguous(),)


@groups_of.register
def _(scheme: Stacked, shape: Shape) -> tuple[Tensor, ...]:
    matrix = torch.arange(shape[0])[:, None, None]
    kinds = groups_of(scheme.each, shape[1:])
    return tuple(numbers + matrix * (int(numbers.max()) + 1) for numbers in kinds)


@groups_of.register
def _(scheme: Intersection, shape: Shape) -> tuple[Tensor, ...]:
    without = groups_of.dispatch(object)
    grouped = [part for part in scheme.parts if groups_of.dispatch(type(part)) is not without]
    return tuple(numbers for part in grouped for numbers in groups_of(part, shape)) or without(scheme, shape)


def _rows(shape: Shape) -> Tensor:
    return torch.arange(shape[0])[:, None]


def _columns(shape: Shape) -> Tensor:
    return torch.arange(torch.Size(shape[1:]).numel())[None, :]


def _numbered(first: Tensor, second: Tensor | int, shape: Shape) -> Tensor:
    """Pairs numbered from 0 without gaps, over the matrix, as the weight's shape."""
    second = torch.as_tensor(second)
    pairs = first * (int(second.max()) + 1) + second
    numbers = pairs.unique(return_inverse=True)[1]
    return numbers.expand(shape[0], torch.Size(shape[1:]).numel()).reshape(shape)
