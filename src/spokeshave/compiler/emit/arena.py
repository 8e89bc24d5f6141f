"""One arena for all buffers of a program.

Buffers of the same layout may share a slot once the first is dead. Planes share only with planes of exactly the same
layout: kernels write the same elements of them every time, so the zero margins that convolutions read stay zero for
the arena's whole life. Flat buffers share with any flat buffer.
"""

from dataclasses import dataclass, replace

from spokeshave.compiler.emit.program import Buffer, Place, Program
from spokeshave.compiler.layout import Flat, round_up

ALIGNMENT_FLOATS = 64


@dataclass(frozen=True)
class Arena:
    """Offset of each buffer and the size of the whole, in floats."""

    offsets: dict[str, int]
    floats: int


@dataclass
class _Slot:
    key: object
    floats: int
    free_after: int


def plan_arena(program: Program) -> Arena:
    """Give every buffer a slot: first fit among the slots whose last reader has run."""
    slots: list[_Slot] = []
    chosen: dict[str, int] = {}
    for name, (first, last) in sorted(_lifetimes(program).items(), key=lambda item: item[1]):
        buffer = program.buffers[name]
        key = _sharing_key(buffer)
        fitting = [i for i, slot in enumerate(slots) if slot.key == key and slot.free_after < first]
        if fitting:
            index = max(fitting, key=lambda i: slots[i].floats)
        else:
            index = len(slots)
            slots.append(_Slot(key, 0, -1))
        slots[index].floats = max(slots[index].floats, buffer.layout.floats)
        slots[index].free_after = last
        chosen[name] = index
    starts, position = [], 0
    for slot in slots:
        starts.append(position)
        position += round_up(slot.floats, ALIGNMENT_FLOATS)
    return Arena({name: starts[index] for name, index in chosen.items()}, position + 4 * ALIGNMENT_FLOATS)


def _sharing_key(buffer: Buffer) -> object:
    if isinstance(buffer.layout, Flat):
        return "flat"
    return replace(buffer.layout, channels=0), buffer.pattern


def _lifetimes(program: Program) -> dict[str, tuple[int, int]]:
    """First and last step that touches each buffer."""
    lives: dict[str, tuple[int, int]] = {}
    for index, step in enumerate(program.steps):
        for call in step.calls:
            for argument in call.arguments:
                if isinstance(argument, Place):
                    first, _ = lives.get(argument.buffer, (index, index))
                    lives[argument.buffer] = (first, index)
    return lives
