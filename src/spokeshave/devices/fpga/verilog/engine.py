"""The engine of `devices/fpga/engine.py` as Verilog."""

from spokeshave.devices.fpga.engine import (
    CODE_BITS,
    PARAMETER_BITS,
    PARAMETER_DEPTH,
    Engine,
    LaneKind,
)
from spokeshave.devices.fpga.verilog.control import Widths, loader, sequencer, storer
from spokeshave.devices.fpga.verilog.lanes import binary_dot_product, pair_dot_product, shift_dot_product
from spokeshave.devices.fpga.verilog.memories import banks, memory
from spokeshave.devices.fpga.verilog.module import Module, Port, clock, written
from spokeshave.devices.fpga.verilog.requantizers import BOUND_BITS, requantizer
from spokeshave.errors import SpokeshaveError

LANE = "  wire [{bits}-1:0] {name};\n"
EXTENDED = "  assign sums[{row}*{partial} +: {partial}] = {{{{({partial} - {bits}){{{name}[{bits}-1]}}}}, {name}}};\n"
COLUMNS = """  // Activations with a sign.
  wire [{columns}*{x_bits}-1:0] signed_x;
  genvar column;
  generate
    for (column = 0; column < {columns}; column = column + 1) begin : each_column
      assign signed_x[column*{x_bits} +: {x_bits}] = {extended};
    end
  endgenerate
"""


def generate_engine(engine: Engine) -> Module:
    """The whole engine: ports for jobs, beats, the bounds of levels, and levels."""
    widths = Widths.of(engine)
    lanes = all_lanes(engine)
    partial = lanes.port("sums").bits // engine.rows
    beat, parameter = 8 * engine.load_bytes, PARAMETER_BITS[engine.requantizer]
    uses = {
        "loader": loader(engine, widths),
        "sequencer": sequencer(engine, widths),
        "storer": storer(widths),
        "lanes": lanes,
        "accumulators": accumulators(engine, partial),
        "weight_banks": banks(engine.weight_word_bits, 2 * engine.depth, beat, widths.beat),
        "input_banks": banks(engine.input_word_bits, 2 * engine.input_words, beat, widths.beat),
        "parameter_banks": banks(engine.parameter_word_bits, 4 * PARAMETER_DEPTH, beat, widths.beat),
        "sum_memory": memory(engine.rows * engine.accumulator_bits, engine.most_positions),
        "requantizer": requantizer(engine.requantizer, engine.accumulator_bits),
    }
    missing = (engine.parameter_words * engine.outputs - engine.rows) * engine.accumulator_bits
    taken = engine.rows * engine.accumulator_bits
    padding = f"  assign all_sums[{taken} +: {missing}] = {{{missing}{{1'b0}}}};" if missing else ""
    multiplier = "        .multiplier(parameters[output_index*PARAMETER+32 +: 31]),"
    pieces = {"padding": padding, "multiplier": multiplier if engine.requantizer == "multiplier" else ""}
    numbers = widths.numbers(engine) | {"PARTIAL": partial, "PARAMETER": parameter, "SHIFT_AT": parameter - 8}
    return written("engine", "engine", _ports(engine, widths), numbers, 0, uses, pieces)


def _ports(engine: Engine, widths: Widths) -> tuple[Port, ...]:
    return (
        clock(),
        Port("reset", 1),
        Port("job", widths.job),
        Port("job_valid", 1),
        Port("job_ready", 1, "output"),
        Port("load_data", 8 * engine.load_bytes),
        Port("load_valid", 1),
        Port("load_ready", 1, "output"),
        Port("low", BOUND_BITS),
        Port("high", BOUND_BITS),
        Port("zero_point", 8),
        Port("levels", 8 * engine.outputs, "output"),
        Port("levels_valid", 1, "output"),
        Port("idle", 1, "output"),
    )


def accumulators(engine: Engine, partial: int) -> Module:
    """A running sum for each lane."""
    rows, bits = engine.rows, engine.accumulator_bits
    ports = (
        clock(),
        Port("opens", 1),
        Port("adds", 1),
        Port("partial_sums", rows * partial),
        Port("stood", rows * bits),
        Port("sums", rows * bits, "output"),
    )
    numbers = {"ROWS": rows, "SUM": bits, "PARTIAL": partial}
    return written("accumulators", "accumulators", ports, numbers)


def all_lanes(engine: Engine) -> Module:
    """All lanes side by side: `weights` and `x`, a word each, to `sums`, one a lane, `compute_latency - 2` later."""
    x_bits = 1 if engine.lanes.binary else 8 + (not engine.signed)
    made = {kind: _dot_product(kind, engine.columns, x_bits) for kind in CODE_BITS if engine.lanes.of(kind)}
    partial = max(
        port.bits for module in made.values() for port in module.ports if port.direction == "output"
    )
    if partial > engine.accumulator_bits:
        raise SpokeshaveError(
            f"lanes of {engine.columns} columns give sums of {partial} bits, more than the accumulators' "
            f"{engine.accumulator_bits}; take fewer columns, or accumulator_bits={partial}"
        )
    text, place, row = "", 0, 0
    for kind, module in made.items():
        names = [port.name for port in module.ports if port.direction == "output"]
        for _ in range(engine.lanes.of(kind) // len(names)):
            text += _instance(module, kind, row, place, partial)
            row += len(names)
            place += module.port("weights").bits
    assert {module.latency for module in made.values()} == {engine.compute_latency - 2}
    ports = (
        clock(),
        Port("weights", engine.weight_word_bits),
        Port("x", engine.input_word_bits),
        Port("sums", engine.rows * partial, "output"),
    )
    pieces = {"columns": _columns(engine, x_bits), "lanes": text.rstrip()}
    uses = {str(kind): module for kind, module in made.items()}
    return written("lanes", "lanes", ports, {}, engine.compute_latency - 2, uses, pieces)


def _dot_product(kind: LaneKind, columns: int, x_bits: int) -> Module:
    if kind == "binary":
        return binary_dot_product(columns)
    if kind == "shift":
        return shift_dot_product(columns, x_bits)
    return pair_dot_product(columns, CODE_BITS[kind], x_bits)


def _columns(engine: Engine, x_bits: int) -> str:
    if engine.lanes.binary:
        return f"  wire [{engine.columns}-1:0] signed_x = x;\n"
    extended = "x[column*8 +: 8]" if engine.signed else "{1'b0, x[column*8 +: 8]}"
    return COLUMNS.format(columns=engine.columns, x_bits=x_bits, extended=extended)


def _instance(module: Module, kind: LaneKind, row: int, place: int, partial: int) -> str:
    """A dot product of one row or two, its weights from a place of the word on, its sums brought to one length."""
    outputs = [port for port in module.ports if port.direction == "output"]
    names = {port.name: f"{kind}_{row + offset}" for offset, port in enumerate(outputs)}
    text = "".join(LANE.format(bits=port.bits, name=names[port.name]) for port in outputs)
    connections = ["clk(clk)", f"weights(weights[{place} +: {module.port('weights').bits}])", "x(signed_x)"]
    connections += [f"{port}({name})" for port, name in names.items()]
    text += f"  {module.name} lane_{row} (" + ", ".join(f".{part}" for part in connections) + ");\n"
    for offset, port in enumerate(outputs):
        text += EXTENDED.format(row=row + offset, partial=partial, bits=port.bits, name=names[port.name])
    return text
