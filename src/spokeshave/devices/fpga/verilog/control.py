"""Who loads, computes and stores when: the three controls of the engine, and the widths of what they count."""

from dataclasses import dataclass

from spokeshave.devices.fpga.engine import PARAMETER_DEPTH, Engine
from spokeshave.devices.fpga.verilog.module import Module, Port, bits_for, clock, written


@dataclass(frozen=True)
class Widths:
    """Bits of addresses (within a half), of positions, of a beat's number, of a group of outputs."""

    weight_address: int
    input_address: int
    parameter: int
    position: int
    beat: int
    group: int

    @classmethod
    def of(cls, engine: Engine) -> "Widths":
        """Those of an engine."""
        words = (engine.weight_word_bits, engine.input_word_bits, engine.parameter_word_bits)
        return cls(
            weight_address=bits_for(engine.depth),
            input_address=bits_for(engine.input_words),
            parameter=bits_for(PARAMETER_DEPTH),
            position=bits_for(engine.most_positions),
            beat=bits_for(max(engine.beats(bits) for bits in words)),
            group=bits_for(engine.parameter_words),
        )

    @property
    def address(self) -> int:
        """One bit more than any address has."""
        return 1 + max(self.weight_address, self.input_address, self.parameter)

    @property
    def job_fields(self) -> dict[str, int]:
        """Bits of the fields of a job, the lowest first."""
        return {
            "words": self.weight_address + 1,
            "positions": self.position + 1,
            "input_words": self.address + 1,
            "weight_base": self.weight_address,
            "parameter_base": self.parameter,
            "parameter_words": self.parameter + 1,
            "output_words": self.group,
            **dict.fromkeys(("loads_weights", "loads_inputs", "first", "last"), 1),
        }

    @property
    def job(self) -> int:
        """Bits of a job."""
        return sum(self.job_fields.values())

    def numbers(self, engine: Engine) -> dict[str, int]:
        """The engine's local parameters that follow from its sizes."""
        starts, start = {}, 0
        for name, bits in self.job_fields.items():
            starts[name], start = start, start + bits
        return {
            "WEIGHT_ADDRESS_BITS": self.weight_address,
            "INPUT_ADDRESS_BITS": self.input_address,
            "PARAMETER_BITS": self.parameter,
            "POSITION_BITS": self.position,
            "ADDRESS_BITS": self.address,
            "BEAT_BITS": self.beat,
            "GROUP_BITS": self.group,
            "POSITIONS_AT": starts["positions"],
            "INPUT_WORDS_AT": starts["input_words"],
            "WEIGHT_BASE_AT": starts["weight_base"],
            "PARAMETER_BASE_AT": starts["parameter_base"],
            "PARAMETER_WORDS_AT": starts["parameter_words"],
            "LAST_GROUP_AT": starts["output_words"],
            "FLAGS_AT": starts["loads_weights"],
            "QUEUE": 2 * self.weight_address + self.position + self.parameter + self.group + 8,
            "WEIGHT_WORD": engine.weight_word_bits,
            "INPUT_WORD": engine.input_word_bits,
            "ROWS": engine.rows,
            "SUM": engine.accumulator_bits,
            "OUTPUTS": engine.outputs,
            "GROUPS": engine.parameter_words,
            "DELAY": engine.compute_latency - 1,
        }


def loader(engine: Engine, widths: Widths) -> Module:
    """Takes jobs and beats, and fills memories."""
    numbers = {
        "ADDRESS_BITS": widths.address,
        "BEAT_BITS": widths.beat,
        "PARAMETER_BEATS": engine.parameter_beats - 1,
        "WEIGHT_BEATS": engine.weight_beats - 1,
        "INPUT_BEATS": engine.input_beats - 1,
    }
    flags = ("reset", "may_load", "job_valid", "load_valid")
    ports = (
        clock(),
        *(Port(name, 1) for name in flags),
        Port("load_ready", 1, "output"),
        Port("job_parameter_words", widths.address + 1),
        Port("job_weight_words", widths.address + 1),
        Port("job_input_words", widths.address + 1),
        *(Port(name, 1) for name in ("job_loads_weights", "job_loads_inputs", "job_first")),
        Port("weight_half", 1, "output", register=True),
        Port("input_half", 1, "output", register=True),
        Port("parameter_set", 2, "output", register=True),
        *(Port(f"writes_{what}", 1, "output") for what in ("parameters", "weights", "inputs")),
        Port("beat", widths.beat, "output"),
        Port("address", widths.address, "output"),
        Port("loaded", 1, "output"),
    )
    return written("loader", "loader", ports, numbers)


def sequencer(engine: Engine, widths: Widths) -> Module:
    """Reads words of weights and inputs, a pair a cycle."""
    numbers = {
        "WEIGHT_ADDRESS_BITS": widths.weight_address,
        "INPUT_ADDRESS_BITS": widths.input_address,
        "POSITION_BITS": widths.position,
        "LAST_DRAINED": engine.compute_latency - 1,
        "DRAIN_BITS": bits_for(engine.compute_latency),
    }
    ports = (
        clock(),
        Port("reset", 1),
        Port("may_compute", 1),
        Port("words", widths.weight_address + 1),
        Port("positions", widths.position + 1),
        Port("weight_base", widths.weight_address),
        Port("weight_address", widths.weight_address, "output"),
        Port("input_address", widths.input_address, "output", register=True),
        Port("position", widths.position + 1, "output", register=True),
        *(Port(name, 1, "output") for name in ("opens", "closes", "began", "computed")),
    )
    return written("sequencer", "sequencer", ports, numbers)


def storer(widths: Widths) -> Module:
    """Reads sums, some rows a cycle; `groups` is the last of them."""
    numbers = {
        "POSITION_BITS": widths.position,
        "GROUP_BITS": widths.group,
    }
    ports = (
        clock(),
        Port("reset", 1),
        Port("may_store", 1),
        Port("positions", widths.position + 1),
        Port("groups", widths.group),
        Port("position", widths.position, "output"),
        Port("group", widths.group, "output", register=True),
        Port("reading", 1, "output"),
        Port("stored", 1, "output"),
    )
    return written("storer", "storer", ports, numbers)
