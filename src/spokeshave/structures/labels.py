"""Which slices of tensors must stay or go together: labels that become one when an operation ties them."""

from collections.abc import Iterable, Sequence

Axis = tuple[int, ...] | None
Axes = tuple[Axis, ...]


class Labels:
    """A label for every slice of every axis that may shrink. Tied labels share a root; a reason keeps a root for good.

    An axis is a tuple of labels, or None where it cannot shrink (positions, samples).
    """

    def __init__(self) -> None:
        self._above: list[int] = []
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int) -> tuple[int, ...]:
        """New labels, each its own root."""
        first = len(self._above)
        self._above.extend(range(first, first + count))
        return tuple(range(first, first + count))

    def root(self, label: int) -> int:
        """What stands for all labels tied to this one."""
        while self._above[label] != label:
            self._above[label] = self._above[self._above[label]]
            label = self._above[label]
        return label

    def reason(self, label: int) -> str | None:
        """Why the slice has to stay, or None."""
        return self._reasons.get(self.root(label))

    def tie(self, first: Axis, second: Axis, why: str) -> Axis:
        """Tie two axes of one length slice by slice; where one of them cannot shrink, `why` keeps the other."""
        if first is None or second is None:
            self.keep((first, second), why)
            return None
        for one, other in zip(first, second, strict=True):
            self._tie(one, other)
        return first

    def tie_all(self, labels: Sequence[int]) -> None:
        """Make one of all these slices."""
        for label in labels[1:]:
            self._tie(labels[0], label)

    def keep(self, axes: Iterable[Axis], why: str) -> None:
        """Say why slices have to stay; the first reason stands."""
        for axis in axes:
            for label in axis or ():
                self._reasons.setdefault(self.root(label), why)

    def _tie(self, one: int, other: int) -> None:
        one, other = self.root(one), self.root(other)
        if one != other:
            self._above[other] = one
            reason = self._reasons.pop(other, None)
            if reason is not None:
                self._reasons.setdefault(one, reason)
