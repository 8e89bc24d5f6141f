"""Numbers that are known when the network runs: lengths, and what follows from them."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Lengths = Sequence[int] | Mapping[int, int]  # by number


class Count(int):
    """A number of elements that follows from a length; as an int, what it is at the greatest length.

    Layouts use the int for strides and room; where the number itself goes into generated code, its text does.

    >>> count = Count.length(197) * 2 + 1
    >>> int(count), str(count), count.at([3])
    (395, '((length[0] * 2) + 1)', 7)
    """

    text: str
    at: Callable[[Lengths], int]

    def __new__(cls, value: int, text: str, at: Callable[[Lengths], int]) -> "Count":
        """`text` is a C expression of `length[0]`, `length[1]` ..., `at` the number at some lengths."""
        count = super().__new__(cls, value)
        count.text, count.at = text, at
        return count

    @classmethod
    def length(cls, greatest: int, index: int = 0) -> "Count":
        """The length of a number itself."""
        return cls(greatest, f"length[{index}]", operator.itemgetter(index))

    def __str__(self) -> str:
        return self.text

    def __format__(self, specification: str) -> str:
        return self.text

    def __add__(self, other: Any) -> "Count":
        return self if other == 0 else _made(operator.add, "+", self, other)

    __radd__ = __add__

    def __mul__(self, other: Any) -> "Count":
        return self if other == 1 else _made(operator.mul, "*", self, other)

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> "Count":
        return _made(operator.sub, "-", self, other)

    def __rsub__(self, other: Any) -> "Count":
        return _made(operator.sub, "-", other, self)

    def __floordiv__(self, other: Any) -> "Count":
        return self if other == 1 else _made(operator.floordiv, "/", self, other)

    def rounded_up(self, multiple: int) -> "Count":
        """The smallest multiple that is not below the number."""
        return self if multiple == 1 else (self + (multiple - 1)) // multiple * multiple


def at_lengths(shape: Sequence[int], lengths: Lengths) -> tuple[int, ...]:
    """A shape at some lengths; at the greatest where none are given."""
    return tuple(size.at(lengths) if isinstance(size, Count) and lengths else int(size) for size in shape)


def _made(calculate: Callable[[int, int], int], symbol: str, first: int, second: int) -> Count:
    def at(lengths: Lengths) -> int:
        return calculate(
            *(number.at(lengths) if isinstance(number, Count) else number for number in (first, second))
        )

    return Count(calculate(int(first), int(second)), f"({first} {symbol} {second})", at)


def greatest(sizes: Iterable[int]) -> tuple[int, ...]:
    """The greatest of each length, among sizes of which some are the lengths themselves.

    >>> greatest([3, Count.length(5, 1), Count.length(197) + 1, Count.length(197)])
    (197, 5)
    """
    found = {str(size): int(size) for size in sizes if isinstance(size, Count)}
    texts = (f"length[{index}]" for index in range(len(found)))
    return tuple(found[text] for text in texts if text in found)
