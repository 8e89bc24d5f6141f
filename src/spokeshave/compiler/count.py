"""Numbers that are known when the network runs: the caller's lengths, and what follows from them."""

from typing import Any


class Count(int):
    """A number of elements that follows from the caller's length; as an int, what it is at the greatest length.

    Layouts use the int for strides and room; where the number itself goes into generated code, its text does.

    >>> count = Count(197, "length") * 2 + 1
    >>> int(count), str(count)
    (395, '((length * 2) + 1)')
    """

    text: str

    def __new__(cls, value: int, text: str) -> "Count":
        """`text` is a C expression of `length`."""
        count = super().__new__(cls, value)
        count.text = text
        return count

    def __str__(self) -> str:
        return self.text

    def __format__(self, specification: str) -> str:
        return self.text

    def __add__(self, other: Any) -> "Count":
        return self if other == 0 else Count(int(self) + int(other), f"({self} + {other})")

    __radd__ = __add__

    def __mul__(self, other: Any) -> "Count":
        return self if other == 1 else Count(int(self) * int(other), f"({self} * {other})")

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> "Count":
        return Count(int(self) - int(other), f"({self} - {other})")

    def __rsub__(self, other: Any) -> "Count":
        return Count(int(other) - int(self), f"({other} - {self})")

    def __floordiv__(self, other: Any) -> "Count":
        return self if other == 1 else Count(int(self) // int(other), f"({self} / {other})")

    def rounded_up(self, multiple: int) -> "Count":
        """The smallest multiple that is not below the number."""
        return self if multiple == 1 else (self + (multiple - 1)) // multiple * multiple
