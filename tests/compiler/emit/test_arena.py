"""The arena: no two live buffers in the same memory, close to the largest live set, gaps cleared where they must be."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spokeshave.compiler.emit.arena import largest_live_set, lifetimes, plan_arena
from spokeshave.compiler.emit.program import Buffer, Call, Place, Program, Step
from spokeshave.compiler.layout import Flat, Grid, Layout

PITCHES = (4, 5, 9)


@st.composite
def layouts(draw) -> Layout:
    if draw(st.booleans()):
        return Flat((draw(st.integers(1, 500)),))
    return Grid(draw(st.sampled_from(PITCHES)), 16).planes(draw(st.integers(1, 6)), 4, 4, 16)


@st.composite
def programs(draw) -> Program:
    buffers, steps = {}, [[] for _ in range(draw(st.integers(1, 9)))]
    for index in range(draw(st.integers(1, 12))):
        name = f"b{index}"
        buffers[name] = Buffer(draw(layouts()), draw(st.sampled_from(["", "copied", "phases"])))
        first = draw(st.integers(0, len(steps) - 1))
        for step in (first, draw(st.integers(first, len(steps) - 1))):
            steps[step].append(Call("f", (Place(name),)))
    return Program(tuple(Step("", "", tuple(calls)) for calls in steps), buffers, {}, (), ())


@given(programs())
def test_live_buffers_lie_apart(program):
    arena, lives = plan_arena(program), lifetimes(program)
    for a in lives:
        end = arena.offsets[a] + program.buffers[a].layout.floats
        assert end <= arena.floats
        for b in lives:
            if a != b and lives[a].meets(lives[b]):
                other_end = arena.offsets[b] + program.buffers[b].layout.floats
                assert end <= arena.offsets[b] or other_end <= arena.offsets[a]


@given(programs())
def test_gaps_are_zero_whenever_planes_are_used(program):
    """Simulates two runs: each buffer leaves its mark in all its memory, and zeros only in what is its gap."""
    arena, lives = plan_arena(program), lifetimes(program)
    owner: list[object] = [
        None
    ] * arena.floats  # whose elements and gaps memory holds; None: zeros from the start
    kinds = {
        name: (replace(buffer.layout, channels=0), buffer.pattern, arena.offsets[name])
        for name, buffer in program.buffers.items()
        if name in lives and not isinstance(buffer.layout, Flat)
    }
    for _ in range(2):
        for index in range(len(program.steps)):
            for name in (name for name in lives if lives[name].first == index):
                start = arena.offsets[name]
                memory = slice(start, start + program.buffers[name].layout.floats)
                if name in kinds and name not in arena.dirty:
                    assert set(owner[memory]) <= {None, kinds[name]}
                owner[memory] = [kinds.get(name, name)] * (memory.stop - memory.start)


@given(programs())
def test_the_arena_is_not_below_the_largest_live_set(program):
    assert plan_arena(program).floats >= largest_live_set(program)


def test_a_chain_needs_little_more_than_two_values():
    sizes = (100_000, 200_000, 150_000, 50_000, 200_000)
    buffers = {f"b{i}": Buffer(Flat((size,))) for i, size in enumerate(sizes)}
    steps = [Step("", "", (Call("f", (Place(f"b{i}"), Place(f"b{i + 1}"))),)) for i in range(len(sizes) - 1)]
    program = Program(tuple(steps), buffers, {}, (), ())
    assert plan_arena(program).floats <= 1.3 * largest_live_set(program)
