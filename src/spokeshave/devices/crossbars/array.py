"""What a crossbar of resistive cells is like, and how its columns are read."""

from dataclasses import dataclass
from typing import Literal, get_args

from spokeshave.errors import SpokeshaveError

Encoding = Literal["pairs", "offset", "polarized"]
LARGEST_NUMBERS = {"rows": 4096, "columns": 4096, "cell_bits": 8, "weight_bits": 16, "input_bits": 16}


@dataclass(frozen=True)
class Array:
    """Crossbars of `rows` word lines x `columns` bit lines that multiply whole numbers.

    A weight of `weight_bits` bits takes a cell of `cell_bits` bits for each slice of it; its sign is by `encoding`:

        pairs       positive and negative weights on columns of their own                       (PRIME)
        offset      2^(weight_bits - 1) added to all weights, and what that adds taken off      (ISAAC)
        polarized   weights of a fragment have one sign; cells hold sizes                       (FORMS)

    Inputs come bit by bit. `rows_at_once` word lines (a fragment) are driven together, and every column is converted
    by an analog-to-digital converter of `adc_bits` bits, a unit a level; None converts without loss. `flipped` columns
    hold the complement where that makes their largest sum smaller, which saves a bit of the converter (ISAAC, ISCA
    2016). `variation` is the deviation of the logarithm of a cell's conductance, drawn once when it is programmed;
    resistances (ohm) say what the lowest level conducts.
    """

    rows: int = 128
    columns: int = 128
    cell_bits: int = 2
    weight_bits: int = 8
    input_bits: int = 16
    encoding: Encoding = "offset"
    rows_at_once: int = 128
    flipped: bool = False
    adc_bits: int | None = 8
    variation: float = 0.0
    low_resistance: float = 2e3
    high_resistance: float = 2e6

    def __post_init__(self) -> None:
        for field, most in LARGEST_NUMBERS.items():
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= most:
                raise SpokeshaveError(
                    f"crossbar: {field} must be a whole number from 1 to {most}, not {value!r}"
                )
        if self.encoding not in get_args(Encoding):
            known = ", ".join(get_args(Encoding))
            raise SpokeshaveError(f"crossbar: encoding must be one of {known}, not {self.encoding!r}")
        if not 1 <= self.rows_at_once <= self.rows or self.rows % self.rows_at_once:
            raise SpokeshaveError(
                f"crossbar: rows_at_once must divide the {self.rows} rows, or fragments cross crossbars; "
                f"{self.rows_at_once!r} does not"
            )
        if self.adc_bits is not None and not 1 <= self.adc_bits <= 16:
            raise SpokeshaveError(f"crossbar: adc_bits must be from 1 to 16, or None, not {self.adc_bits!r}")
        if self.weight_bits < 2 or not self.variation >= 0:
            raise SpokeshaveError("crossbar: weight_bits must be at least 2 and variation at least 0")
        if not 0 < self.low_resistance < self.high_resistance:
            raise SpokeshaveError("crossbar: low_resistance must be above 0 and below high_resistance")

    @property
    def slices(self) -> int:
        """Cells of a weight on one column set: sizes have a bit less than weights with an offset."""
        bits = self.weight_bits if self.encoding == "offset" else self.weight_bits - 1
        return -(-bits // self.cell_bits)

    @property
    def cells_per_weight(self) -> int:
        """Bit lines that one output channel takes."""
        return self.slices * (2 if self.encoding == "pairs" else 1)

    @property
    def largest_weight(self) -> int:
        """Weights are whole numbers of at most this size."""
        return (1 << self.weight_bits - 1) - 1

    @property
    def largest_sum(self) -> int:
        """The most that a column can give, with all inputs 1."""
        most = self.rows_at_once * ((1 << self.cell_bits) - 1)
        return most // 2 if self.flipped else most

    @property
    def digits(self) -> int:
        """Binary digits of what a converter gives; two more for cells that vary, where there is no converter."""
        return self.largest_sum.bit_length() + 2 if self.adc_bits is None else self.adc_bits

    @property
    def lossless(self) -> bool:
        """Whether no conversion can lose anything, so that sums are those of whole numbers."""
        return self.variation == 0 and (self.adc_bits is None or self.largest_sum < 1 << self.adc_bits)
