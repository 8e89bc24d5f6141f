"""Buffers that an AQFP circuit needs so that all inputs of a gate come with the same clock, and how phases save them.

Every gate is clocked. With four phases a signal must go on in the very next one, so that a path that is shorter than
its neighbour by d gates needs d buffers. With 4 s phases a signal is held for s of them: a gap takes a buffer every s.
"""

from dataclasses import dataclass
from math import ceil

PHASES = 4


@dataclass(frozen=True)
class Circuit:
    """Gates in order; each is fed by earlier ones (or inputs, negative numbers), all outputs are read at the end."""

    gates: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]

    def levels(self) -> tuple[int, ...]:
        """When each gate works: one after the latest of its inputs."""
        found: list[int] = []
        for inputs in self.gates:
            found.append(1 + max((found[gate] for gate in inputs if gate >= 0), default=0))
        return tuple(found)

    @property
    def depth(self) -> int:
        """Gates on the longest path."""
        return max(self.levels(), default=0)

    def buffers(self, phases: int = PHASES) -> int:
        """Buffers that balance all paths, splitters' arms counted one by one."""
        levels, hold = self.levels(), phases // PHASES
        gaps = [
            level - (levels[gate] if gate >= 0 else 0)
            for level, inputs in zip(levels, self.gates, strict=True)
            for gate in inputs
        ]
        gaps += [self.depth + 1 - levels[gate] for gate in self.outputs]
        return sum(ceil(gap / hold) - 1 for gap in gaps)


def counter(bits: int) -> Circuit:
    """A parallel counter: how many of `bits` bits are 1, by full adders of three majority gates, weight by weight.

    carry = majority(a, b, c)     sum = majority(not carry, c, majority(a, b, not c))
    """
    gates: list[tuple[int, ...]] = []
    waiting, outputs, weight = {0: list(range(-bits, 0))}, [], 0
    while waiting.get(weight):
        column = waiting[weight]
        while len(column) > 1:
            taken, column = tuple(column[:3]), column[3:]
            gates += [taken, taken, (len(gates), len(gates) + 1, taken[-1])]
            column.append(len(gates) - 1)
            waiting.setdefault(weight + 1, []).append(len(gates) - 3)
        outputs.append(column[0])
        weight += 1
    return Circuit(tuple(gates), tuple(output for output in outputs if output >= 0))
