"""A product of real numbers as the jobs and beats of the engine, and the levels that come out, back in their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.devices.fpga.engine import CODE_BITS, LARGEST_SHIFT, PARAMETER_BITS, Engine, LaneKind
from spokeshave.devices.fpga.schedule import Job, Outer, Product, jobs, kept_rows, loading_job, row_tiles
from spokeshave.devices.fpga.verilog.control import Widths
from spokeshave.devices.fpga.verilog.lanes import pair_codes, shift_codes
from spokeshave.devices.fpga.verilog.words import join_words, to_words
from spokeshave.errors import SpokeshaveError

NOBODY = -1
LARGEST_WEIGHTS: dict[LaneKind, int] = {"int8": 127, "int4": 7, "shift": 1 << LARGEST_SHIFT, "binary": 1}


@dataclass(frozen=True)
class Numbers:
    """Whole numbers of a product and of what follows its sums.

    `weights` `[rows, columns]`, of the formats `kinds`, one a row; `inputs` `[columns, positions]`; `bias`,
    `multiplier` and `shift` `[rows]`. Levels are clamped to `low ... high`, counted from the zero point, which is then
    added.
    """

    weights: Tensor
    kinds: tuple[LaneKind, ...]
    inputs: Tensor
    bias: Tensor
    multiplier: Tensor
    shift: Tensor
    low: int = -128
    high: int = 127
    zero_point: int = 0

    @property
    def product(self) -> Product:
        """Its sizes."""
        rows = tuple((kind, self.kinds.count(kind)) for kind in CODE_BITS if kind in self.kinds)
        return Product(rows, self.weights.shape[1], self.inputs.shape[1])


@dataclass(frozen=True)
class Load:
    """What the engine is given, as words: jobs, and the beats that they load."""

    jobs: list[str]
    beats: list[str]

    def __add__(self, other: "Load") -> "Load":
        return Load(self.jobs + other.jobs, self.beats + other.beats)


def places(engine: Engine, numbers: Numbers) -> list[list[int]]:
    """Which row each lane computes in each tile, `NOBODY` where there is none left for it.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> nothing = torch.zeros(3)
    >>> numbers = Numbers(torch.ones(3, 2), ("shift", "int8", "shift"), torch.ones(2, 1), *[nothing] * 3)
    >>> places(Engine(Lanes(int8=2, shift=1), columns=2), numbers)
    [[1, 2, 0]]
    """
    tiles = row_tiles(engine, numbers.product)
    waiting = {kind: [row for row, of in enumerate(numbers.kinds) if of == kind] for kind in CODE_BITS}
    counts = {kind: len(rows) for kind, rows in waiting.items()}
    for kind, kept in kept_rows(engine, counts, tiles).items():
        waiting["int8"] += waiting[kind][kept:]
        waiting[kind] = waiting[kind][:kept]
    found: list[list[int]] = [[] for _ in range(tiles)]
    for kind, rows in waiting.items():
        lanes = engine.lanes.of(kind)
        rows += [NOBODY] * (tiles * lanes - len(rows))
        for tile in range(tiles):
            found[tile] += rows[tile * lanes : (tile + 1) * lanes]
    return found


def resident_load(engine: Engine, numbers: Numbers) -> Load:
    """The job and the beats that load all weights and parameters of a product, to stay."""
    check_numbers(engine, numbers)
    tiles = places(engine, numbers)
    parameters = [word for words in _parameter_words(engine, numbers, tiles) for word in words]
    weights = [word for words in _weight_words(engine, numbers, tiles) for word in words]
    beats = _beats(engine, parameters, engine.parameter_word_bits)
    beats += _beats(engine, weights, engine.weight_word_bits)
    return Load([_job_word(engine, loading_job(engine, numbers.product))], beats)


def load_of(engine: Engine, numbers: Numbers, outer: Outer = "rows", resident: bool = False) -> Load:
    """Jobs and beats of a product, its weights loaded before where they are `resident`.

    Raises SpokeshaveError for numbers that the engine cannot hold.
    """
    check_numbers(engine, numbers)
    work, tiles = list(jobs(engine, numbers.product, outer, resident)), places(engine, numbers)
    columns = _starts({job.column_pass: job.words for job in work})
    positions = _starts({job.position_tile: job.positions for job in work})
    weights, parameters = _weight_words(engine, numbers, tiles), _parameter_words(engine, numbers, tiles)
    inputs = _input_words(engine, numbers)
    beats: list[str] = []
    for job in work:
        words = range(columns[job.column_pass], columns[job.column_pass] + job.words)
        if job.loads_weights:
            if job.first:
                beats += _beats(engine, parameters[job.row_tile], engine.parameter_word_bits)
            beats += _beats(engine, [weights[job.row_tile][word] for word in words], engine.weight_word_bits)
        if job.loads_inputs:
            start = positions[job.position_tile]
            read = [inputs[place][word] for place in range(start, start + job.positions) for word in words]
            beats += _beats(engine, read, engine.input_word_bits)
    return Load([_job_word(engine, job) for job in work], beats)


def placed(engine: Engine, numbers: Numbers, levels: Tensor, outer: Outer = "rows") -> Tensor:
    """Levels as they came, `[words, outputs]`, in the places of their rows and positions: `[rows, positions]`."""
    tiles = places(engine, numbers)
    work = list(jobs(engine, numbers.product, outer))
    positions = _starts({job.position_tile: job.positions for job in work})
    made, read = torch.zeros(len(numbers.kinds), numbers.inputs.shape[1], dtype=torch.int64), 0
    for job in (job for job in work if job.last):
        words = job.positions * job.output_words
        part = levels[read : read + words].reshape(job.positions, -1)
        rows = torch.tensor(tiles[job.row_tile][: part.shape[1]])
        start = positions[job.position_tile]
        made[rows[rows != NOBODY], start : start + job.positions] = part[:, : len(rows)][:, rows != NOBODY].T
        read += words
    return made


def in_order(engine: Engine, numbers: Numbers, made: Tensor, outer: Outer = "rows") -> list[str]:
    """The other way round: levels `[rows, positions]` as the words that come, lanes without a row included."""
    tiles, words = places(engine, numbers), []
    work = list(jobs(engine, numbers.product, outer))
    positions = _starts({job.position_tile: job.positions for job in work})
    nothing = max(numbers.low, min(0, numbers.high)) + numbers.zero_point
    padded = torch.cat([made, torch.full_like(made[:1], nothing)])  # NOBODY's
    for job in (job for job in work if job.last):
        count = job.output_words * engine.outputs
        rows = (tiles[job.row_tile] + [NOBODY] * count)[:count]
        start = positions[job.position_tile]
        part = padded[torch.tensor(rows), start : start + job.positions].T
        words += to_words(part.reshape(-1, engine.outputs), 8)
    return words


def check_numbers(engine: Engine, numbers: Numbers) -> None:
    """Raise SpokeshaveError for numbers that the engine has no bits for, and for sums that may overflow."""
    left_out = engine.columns + numbers.weights.shape[1]  # at most, which lanes leave to the bias
    ends = {
        "input": (numbers.inputs, *((-128, 127) if engine.signed else (0, 255))),
        "bias": (numbers.bias, -(1 << 31), (1 << 31) - 1 - left_out),
        "multiplier": (numbers.multiplier, 0, (1 << 31) - 1),
        "shift": (numbers.shift, 0, 63),
    }
    if engine.requantizer == "shift":
        ends["multiplier"] = (numbers.multiplier, 1, 1)
    if engine.lanes.binary:
        _check_signs(numbers)
    _check_weights(numbers)
    for name, (values, low, high) in ends.items():
        if bool(((values < low) | (values > high)).any()):
            raise SpokeshaveError(
                f"the engine takes {name}s from {low} to {high}, not {int(values.min())} to {int(values.max())}"
            )
    largest = int(numbers.weights.abs().sum(1).max() * numbers.inputs.abs().max()) + left_out
    if largest >= 1 << engine.accumulator_bits - 1:
        raise SpokeshaveError(
            f"sums of these numbers may reach {largest}, which accumulators of {engine.accumulator_bits} bits do not "
            f"hold; {largest.bit_length() + 1} would"
        )


def _check_weights(numbers: Numbers) -> None:
    """A code has no bits for larger ones, which would be cut off."""
    sizes = numbers.weights.abs().amax(1).tolist()
    for kind, size in zip(numbers.kinds, sizes, strict=True):
        most = LARGEST_WEIGHTS[kind]
        if size > most:
            raise SpokeshaveError(
                f"{kind} lanes take weights from -{most} to {most}, and one is {int(size)} away from 0: deploy for a "
                "device with weight_bits of at most 8"
            )


def _check_signs(numbers: Numbers) -> None:
    for name, values in (("inputs", numbers.inputs), ("weights", numbers.weights)):
        others = values[values.abs() != 1]
        if len(others):
            raise SpokeshaveError(
                f"binary lanes multiply -1 and 1 alone, and among the {name} is {int(others[0])}: layers for them have "
                "the scheme binary, read what a Sign made, and are padded with 1"
            )


def _starts(sizes: dict[int, int]) -> list[int]:
    return [0, *accumulate(sizes[number] for number in sorted(sizes))]


def _weight_words(engine: Engine, numbers: Numbers, tiles: Sequence[Sequence[int]]) -> list[list[str]]:
    """By tile and word."""
    return [_tile_words(engine, numbers, rows) for rows in tiles]


def _tile_words(engine: Engine, numbers: Numbers, rows: Sequence[int]) -> list[str]:
    missing = -numbers.weights.shape[1] % engine.columns
    filler = 1 if engine.lanes.binary else 0
    weights = F.pad(numbers.weights.long(), (0, missing), value=filler)
    weights = torch.cat([weights, torch.zeros_like(weights[:1])])  # NOBODY's
    fields, lane = [], 0
    for kind, bits in CODE_BITS.items():
        count = engine.lanes.of(kind)
        chosen = weights[torch.tensor(rows[lane : lane + count], dtype=torch.long)]
        fields += [(codes.view(-1, engine.columns), bits) for codes in lane_codes(kind, chosen.unsqueeze(1))]
        lane += count
    return join_words(*fields)


def lane_codes(kind: LaneKind, weights: Tensor) -> list[Tensor]:
    """Codes of the weights of lanes of a kind, `[lanes, ...]`, one by one."""
    if kind in ("int8", "int4"):
        pairs = zip(weights[0::2], weights[1::2], strict=True)
        return [code for first, second in pairs for code in pair_codes(first, second)]
    if kind == "shift":
        return list(shift_codes(weights))
    return list((weights > 0).long())


def _input_words(engine: Engine, numbers: Numbers) -> list[list[str]]:
    """By position and word."""
    values = numbers.inputs.long().T
    values = (values > 0).long() if engine.lanes.binary else values
    values = F.pad(values, (0, -values.shape[1] % engine.columns))
    words = to_words(values.reshape(-1, engine.columns), engine.activation_bits)
    count = values.shape[1] // engine.columns
    return [words[start : start + count] for start in range(0, len(words), count)]


def _parameter_words(engine: Engine, numbers: Numbers, tiles: Sequence[Sequence[int]]) -> list[list[str]]:
    found = []
    for rows in tiles:
        columns = [(numbers.bias + given_back(engine, numbers, rows), 32), (numbers.shift, 8)]
        if PARAMETER_BITS[engine.requantizer] == 72:
            columns.insert(1, (numbers.multiplier, 32))
        filled = torch.tensor([*rows] + [NOBODY] * (engine.parameter_words * engine.outputs - len(rows)))
        fields = []
        for output in range(engine.outputs):
            chosen = filled[output :: engine.outputs]
            fields += [
                (torch.where(chosen != NOBODY, values[chosen], 0)[:, None], bits) for values, bits in columns
            ]
        found.append(join_words(*fields))
    return found


def given_back(engine: Engine, numbers: Numbers, rows: Sequence[int]) -> Tensor:
    """What the lanes of a tile leave out of each row's sum, `[rows]`: columns that are missing, negative powers of two.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> nothing = torch.zeros(3)
    >>> numbers = Numbers(-torch.ones(3, 5), ("shift", "int8", "shift"), torch.ones(5, 1), *[nothing] * 3)
    >>> given_back(Engine(Lanes(int8=2, shift=1), columns=2), numbers, rows=[1, 2, 0])
    tensor([5, 0, 0])
    """
    missing = -numbers.weights.shape[1] % engine.columns if engine.lanes.binary else 0
    found = torch.full((len(numbers.kinds),), missing)
    start = engine.lanes.int8 + engine.lanes.int4
    shifted = [row for row in rows[start : start + engine.lanes.shift] if row != NOBODY]
    found[shifted] = (numbers.weights[shifted] < 0).sum(1)
    return found


def _beats(engine: Engine, words: Sequence[str], bits: int) -> list[str]:
    """Words cut into beats, the lowest first."""
    digits, count = 2 * engine.load_bytes, engine.beats(bits)
    padded = [word.zfill(digits * count) for word in words]
    return [word[len(word) - (beat + 1) * digits :][:digits] for word in padded for beat in range(count)]


def _job_word(engine: Engine, job: Job) -> str:
    fields = Widths.of(engine).job_fields
    values = {name: getattr(job, name) for name in fields if name != "input_words"}
    values |= {"input_words": job.words * job.positions, "output_words": job.output_words - 1}
    return join_words(*[(torch.tensor([[int(values[name])]]), bits) for name, bits in fields.items()])[0]
