"""Sizes of the engine."""

import pytest

from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.errors import SpokeshaveError


def test_words_hold_every_lane() -> None:
    engine = Engine(Lanes(int8=4, int4=2, shift=6), columns=8, load_bytes=16, outputs=4)
    assert engine.weight_word_bits == 8 * (4 * 8 + 2 * 4 + 6 * 4)
    assert engine.beats(engine.weight_word_bits) == 4
    assert (engine.parameter_words, engine.parameter_word_bits) == (3, 4 * 72)


@pytest.mark.parametrize(
    ("lanes", "settings", "reason"),
    [
        (Lanes(), {}, "needs lanes"),
        (Lanes(int8=3), {}, "int8 lanes come in pairs, for two share a DSP block, not 3"),
        (Lanes(int8=-2), {}, "lanes.int8 must be a whole number of at least 0, not -2"),
        (Lanes(int8=2, binary=8), {}, "one or the other"),
        (Lanes(int8=2), {"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        (Lanes(int8=2), {"requantizer": "float"}, "requantizer must be shift or multiplier"),
        (Lanes(int8=2), {"accumulator_bits": 64}, "accumulator_bits must be from 8 to 48"),
    ],
)
def test_impossible_sizes_are_one_sentence(lanes: Lanes, settings: dict, reason: str) -> None:
    with pytest.raises(SpokeshaveError, match=reason):
        Engine(lanes, columns=8, **settings)
