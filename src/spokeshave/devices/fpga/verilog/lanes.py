"""Lanes, which multiply and add: two products a DSP, shifts of powers of two, and bits that agree or not.

Every dot product takes one set of columns a cycle. `x` is signed; numbers without a sign have a 0 in front.
"""

import torch
from torch import Tensor

from spokeshave.devices.fpga.engine import CODE_BITS, LARGEST_SHIFT, PACKING_OFFSET
from spokeshave.devices.fpga.verilog.module import Module, Port, clock, written
from spokeshave.devices.fpga.verilog.sums import adder_tree, tree_levels

SHIFT_BITS = CODE_BITS["shift"]
LONGEST = 27  # bits of the longer factor of a DSP48E2, signed


def pair_product(bits: int, x_bits: int) -> Module:
    """Codes of two weights (`pair_codes`) times one number by one multiplier: `first_product`, `second_product`."""
    product = bits + x_bits
    assert product <= PACKING_OFFSET <= LONGEST - bits
    numbers = {"BITS": bits, "X_BITS": x_bits, "PRODUCT": product}
    numbers |= {"FIELD": PACKING_OFFSET, "WIDTH": PACKING_OFFSET + product}
    ports = (
        clock(),
        Port("weights", 2 * bits),
        Port("x", x_bits),
        Port("first_product", product, "output", signed=True),
        Port("second_product", product, "output", signed=True),
    )
    return written(f"pair_product_{bits}x{x_bits}", "pair_product", ports, numbers, latency=1)


def pair_codes(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of weights that share a multiplier; the second must not be the lowest number of its bits.

    >>> pair_codes(torch.tensor([-3, 3]), torch.tensor([-7, 7]))
    (tensor([-3,  3]), tensor([-8,  7]))
    """
    return first, second - (first < 0).to(second.dtype)


def pair_dot_product(columns: int, bits: int, x_bits: int) -> Module:
    """Two rows of weights times `x`: `first_sum` and `second_sum`."""
    product = pair_product(bits, x_bits)
    width = product.port("first_product").bits
    tree = adder_tree(columns, width)
    sums = tree.port("sum").bits
    numbers = {"COLUMNS": columns, "BITS": bits, "X_BITS": x_bits, "PRODUCT": width}
    ports = (
        clock(),
        Port("weights", 2 * columns * bits),
        Port("x", columns * x_bits),
        Port("first_sum", sums, "output", signed=True),
        Port("second_sum", sums, "output", signed=True),
    )
    uses = {"product": product, "tree": tree}
    name = f"pair_dot_product_{columns}x{bits}x{x_bits}"
    return written(name, "pair_dot_product", ports, numbers, 1 + tree.latency, uses)


def shift_product(x_bits: int) -> Module:
    """0 or a power of two times a number, `{sign, order}`: `x << order`, each bit turned round where it is negative."""
    product = x_bits + LARGEST_SHIFT
    ports = (
        clock(),
        Port("weight", SHIFT_BITS),
        Port("x", x_bits),
        Port("product", product, "output", signed=True),
    )
    numbers = {"X_BITS": x_bits, "PRODUCT": product}
    return written(f"shift_product_{x_bits}", "shift_product", ports, numbers, latency=1)


def shift_dot_product(columns: int, x_bits: int) -> Module:
    """A row of powers of two times `x`: `sum`, from which 1 is missing for each negative weight."""
    product = shift_product(x_bits)
    width = product.port("product").bits
    tree = adder_tree(columns, width)
    ports = (
        clock(),
        Port("weights", columns * SHIFT_BITS),
        Port("x", columns * x_bits),
        Port("sum", tree.port("sum").bits, "output", signed=True),
    )
    numbers = {"COLUMNS": columns, "BITS": SHIFT_BITS, "X_BITS": x_bits, "PRODUCT": width}
    name = f"shift_dot_product_{columns}x{x_bits}"
    uses = {"product": product, "tree": tree}
    return written(name, "shift_dot_product", ports, numbers, 1 + tree.latency, uses)


def binary_dot_product(columns: int) -> Module:
    """A row of bits times bits that stand for -1 and 1: `sum`."""
    groups = -(-columns // 6)
    tree = adder_tree(groups, 3, signed=False)
    count = tree.port("sum").bits
    total = count + 2
    numbers = {"COLUMNS": columns, "GROUPS": groups, "COUNT": count, "SUM": total}
    ports = (
        clock(),
        Port("weights", columns),
        Port("x", columns),
        Port("sum", total, "output", signed=True),
    )
    name = f"binary_dot_product_{columns}"
    return written(name, "binary_dot_product", ports, numbers, 2 + len(tree_levels(groups)), {"tree": tree})


def shift_codes(weights: Tensor) -> Tensor:
    """Codes of 0 and powers of two up to 2^6: the sign above the order, order 7 for 0.

    >>> shift_codes(torch.tensor([0, 1, -64]))
    tensor([ 7,  0, 14])
    """
    orders = torch.frexp(weights.double()).exponent.long() - 1
    return torch.where(weights == 0, LARGEST_SHIFT + 1, orders + 8 * (weights < 0))
