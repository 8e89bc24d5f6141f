"""One arena for all buffers of a program.

Two buffers may lie in the same memory where no step needs both. The largest are placed first, each as low as it can
lie (greedy by size: Pisarchyk and Lee, arXiv 2001.03288), which keeps the arena close to the largest live set.

Planes have gaps that readers take for zero and that kernels keep zero. The arena begins as zeros; a buffer of planes
whose memory held something else since then has its gaps cleared in the first step that touches it.
"""

from dataclasses import dataclass, replace

from spokeshave.compiler.emit.program import Buffer, Program
from spokeshave.compiler.layout import CACHE_LINE_FLOATS, Planes, round_up

ALIGNMENT_FLOATS = 64
SLACK_FLOATS = 4 * ALIGNMENT_FLOATS  # whole vectors may be read behind a value's end, and before its start


@dataclass(frozen=True)
class Arena:
    """Offset of each buffer and the buffers whose gaps must be cleared.

    Offsets, in floats, are those of the first of the samples that are worked on together; what belongs to the next one
    lies `apart` floats further on.
    """

    offsets: dict[str, int]
    apart: int
    together: int
    dirty: frozenset[str]
    lengths: int = 0  # offset of the lengths that steps find

    @property
    def floats(self) -> int:
        """Size of the whole."""
        return self.apart * self.together


@dataclass(frozen=True)
class Life:
    """First and last step that touches a buffer."""

    first: int
    last: int

    def meets(self, other: "Life") -> bool:
        """Whether some step needs both."""
        return self.first <= other.last and other.first <= self.last


def plan_arena(program: Program) -> Arena:
    """Give every buffer a place, and find the planes that lie where something else has been."""
    lives = lifetimes(program)
    sizes = {name: round_up(program.buffers[name].layout.floats, ALIGNMENT_FLOATS) for name in lives}
    offsets: dict[str, int] = {}
    for name in sorted(lives, key=lambda name: (-sizes[name], lives[name].first)):
        taken = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other].meets(lives[name])
        )
        offsets[name] = _lowest_gap(taken, sizes[name])
    end = max((offsets[name] + sizes[name] for name in lives), default=0)
    dirty = {name for name in lives if _is_dirty(name, program, lives, offsets, sizes)}
    lengths = end + SLACK_FLOATS
    apart = _odd_lines(lengths + program.found)
    return Arena(offsets, apart, program.together, frozenset(dirty), lengths)


def _odd_lines(floats: int) -> int:
    """So many floats and a few more, an odd number of cache lines: samples side by side share no sets of the cache."""
    return (-(-floats // CACHE_LINE_FLOATS) | 1) * CACHE_LINE_FLOATS


def largest_live_set(program: Program) -> int:
    """Floats of all buffers that one step needs at the same time, for the step that needs most."""
    lives = lifetimes(program)
    return max(
        sum(
            program.buffers[name].layout.floats
            for name, life in lives.items()
            if life.meets(Life(step, step))
        )
        for step in range(len(program.steps))
    )


def lifetimes(program: Program) -> dict[str, Life]:
    """First and last step that touches each buffer; steps that take turns count as all of them."""
    lives: dict[str, Life] = {}
    for index, step in enumerate(program.steps):
        turns = (
            [at for at, other in enumerate(program.steps) if other.run == step.run] if step.run else [index]
        )
        for place in (place for call in step.calls for place in call.places):
            first = lives.get(place.buffer, Life(turns[0], index)).first
            lives[place.buffer] = Life(first, turns[-1])
    return lives


def _lowest_gap(taken: list[tuple[int, int]], size: int) -> int:
    position = ALIGNMENT_FLOATS
    for start, end in taken:
        if start - position >= size:
            break
        position = max(position, end)
    return position


def _is_dirty(
    name: str, program: Program, lives: dict[str, Life], offsets: dict[str, int], sizes: dict[str, int]
) -> bool:
    """Whether the buffer that had this memory last, in this run or the one before, left other gaps than its own."""
    if not program.buffers[name].needs_zeros:
        return False
    start, end = offsets[name], offsets[name] + sizes[name]
    others = [o for o in lives if o != name and offsets[o] < end and start < offsets[o] + sizes[o]]
    kin = [
        o for o in others if offsets[o] == start and _kind(program.buffers[o]) == _kind(program.buffers[name])
    ]
    if len(kin) == len(others):
        return False
    latest = min(others, key=lambda o: (lives[name].first - lives[o].last - 1) % len(program.steps))
    return latest not in kin or sizes[latest] < sizes[name]


def _kind(buffer: Buffer) -> object:
    """Buffers of one kind, at one place, leave each other's gaps alone."""
    layout = replace(buffer.layout, channels=0) if isinstance(buffer.layout, Planes) else None
    return layout, buffer.pattern
