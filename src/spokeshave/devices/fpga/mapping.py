"""A network's layers as products for the engine: which rows in which format, how often, and one behind the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from spokeshave.devices.fpga.cycles import Cycles, product_cycles, step_cycles
from spokeshave.devices.fpga.engine import CODE_BITS, LARGEST_SHIFT, Engine, LaneKind, Lanes
from spokeshave.devices.fpga.schedule import Product
from spokeshave.devices.transposed import as_convolution
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo, RowQuantizer
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer

STEPPED = ("weight_hh", "weight_hr")  # what a step multiplies with waits for the step before


@dataclass(frozen=True)
class Work:
    """A layer as `count` products; `steps`: each waits for the one before, and weights stay if they fit."""

    layer: Layer
    product: Product
    count: int
    steps: bool

    @property
    def weight_bits(self) -> int:
        """Bits of the layer's weights; 0 of products of two activations."""
        if not self.layer.weight_shape:
            return 0
        codes = sum(rows * CODE_BITS[kind] for kind, rows in self.product.rows)
        return codes * self.product.columns * (1 if self.steps else self.count)

    def cycles(self, engine: Engine) -> Cycles:
        """Cycles of all of it; each step of a recurrent layer waits for the one before, other products do not."""
        if not self.steps:
            return product_cycles(engine, self.product, self.count)
        return step_cycles(engine, self.product).times(self.count)


def scheme_reason(scheme: Scheme, lanes: Lanes) -> str | None:
    """Why an engine with such lanes cannot use a scheme, or None."""
    if isinstance(scheme, Intersection):
        reasons = [scheme_reason(part, lanes) for part in scheme.parts]
        return None if None in reasons else reasons[0]
    if lanes.binary:
        return None if isinstance(scheme, Binary) else "its lanes multiply signs with signs"
    if isinstance(scheme, MixedRows):
        return scheme_reason(scheme.first, lanes) or scheme_reason(scheme.second, lanes)
    if isinstance(scheme, Codebook):
        return "its levels are no multiples of a scale"
    if not isinstance(scheme, RowQuantizer):
        return "it computes with the zeros too"
    if isinstance(scheme, FixedPoint) and scheme.bits > CODE_BITS["int8"]:
        return f"its multipliers take weights of {CODE_BITS['int8']} bits, not {scheme.bits}"
    if isinstance(scheme, PowerOfTwo) and _largest_shift(scheme) > LARGEST_SHIFT:
        needed = _largest_shift(scheme)
        return (
            f"its lanes shift by up to {LARGEST_SHIFT}, and powers of two of {scheme.bits} bits need {needed}"
        )
    return None


def rows_by_format(scheme: Scheme | None, rows: int, lanes: Lanes) -> tuple[tuple[LaneKind, int], ...]:
    """How many of the rows have which format; dense ones are rounded to 8 bits.

    >>> rows_by_format(MixedRows(FixedPoint(4), PowerOfTwo(4), 0.25), 64, Lanes(int4=2, shift=2))
    (('int4', 48), ('shift', 16))
    """
    if isinstance(scheme, MixedRows):
        second = scheme.parts * round(scheme.share * (rows // scheme.parts))
        both = ((_format(scheme.first, lanes), rows - second), (_format(scheme.second, lanes), second))
        if both[0][0] == both[1][0]:
            return ((both[0][0], rows),)
        return tuple(entry for entry in both if entry[1])
    return ((_format(scheme, lanes), rows),)


def works(layers: Sequence[Layer], schemes: Mapping[str, Scheme], lanes: Lanes) -> tuple[Work, ...]:
    """Every layer as products, its rows in formats that the lanes have; the device has checked the schemes."""
    return tuple(_work(layer, schemes.get(layer.parameter or ""), lanes) for layer in layers)


def _work(layer: Layer, scheme: Scheme | None, lanes: Lanes) -> Work:
    if not layer.weight_shape:
        count = prod(layer.input_shape[:-2])
        product = Product((("int8", layer.rows),), layer.columns, layer.positions // count)
        return Work(layer, product, count, False)
    if layer.kind == "recurrent" and (layer.parameter or "").rpartition(".")[2].startswith(STEPPED):
        product = Product(rows_by_format(scheme, layer.rows, lanes), layer.columns, 1)
        return Work(layer, product, layer.positions, True)
    made = as_convolution(layer)
    product = Product(rows_by_format(scheme, made.rows // made.groups, lanes), made.columns, made.positions)
    return Work(layer, product, made.groups, False)


def _format(scheme: Scheme | None, lanes: Lanes) -> LaneKind:
    if isinstance(scheme, Intersection):
        return _format(next(part for part in scheme.parts if scheme_reason(part, lanes) is None), lanes)
    if isinstance(scheme, PowerOfTwo | Binary):
        return "binary" if lanes.binary else "shift"
    return "int4" if isinstance(scheme, FixedPoint) and scheme.bits <= CODE_BITS["int4"] else "int8"


def _largest_shift(scheme: PowerOfTwo) -> int:
    return (1 << scheme.bits - 1) - 2
