"""Vectors through a module in a simulator: what it makes of given numbers, bit for bit."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from spokeshave.devices.fpga.verilog.module import CLOCK, Module, Port, written
from spokeshave.devices.fpga.verilog.simulation import Simulator, build, find_simulator
from spokeshave.devices.fpga.verilog.words import from_words, join_words

INPUTS, OUTPUTS = "inputs.hex", "outputs.hex"


def run_vectors(
    module: Module, inputs: Mapping[str, Tensor], simulator: Simulator | None = None
) -> dict[str, Tensor]:
    """What `module` gives for one vector a cycle: by port, int64 `[vectors]`, or `[vectors, n]` of ports of n numbers.

    `inputs`: by port, `[vectors]` or `[vectors, n]` for a port that holds n numbers. Raises SpokeshaveError where no
    simulator is to be found.
    """
    made = [port for port in module.ports if port.direction == "output"]
    words = vector_words(module, inputs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / INPUTS).write_text("".join(f"{word}\n" for word in words))
        program = build(vector_bench(module, list(inputs), len(words)), folder, simulator or find_simulator())
        program.run()
        lines = (folder / OUTPUTS).read_text().split()
    return _split(lines, made)


def vector_words(module: Module, inputs: Mapping[str, Tensor]) -> list[str]:
    """What the inputs of a module are given, a word a vector."""
    given = {name: values.reshape(len(values), -1) for name, values in inputs.items()}
    return join_words(
        *[(values, module.port(name).bits // values.shape[1]) for name, values in given.items()]
    )


def vector_bench(module: Module, given: list[str], vectors: int) -> Module:
    """The testbench that gives a module so many vectors at the inputs named."""
    inputs = [module.port(name) for name in given]
    outputs = [port for port in module.ports if port.direction == "output"]
    connections = [f".{CLOCK}({CLOCK})"] if any(port.name == CLOCK for port in module.ports) else []
    connections += [*_connected("now", inputs), *_connected("made", outputs)]
    numbers = {
        "VECTORS": vectors,
        "LATENCY": module.latency,
        "INPUT_BITS": sum(port.bits for port in inputs),
        "OUTPUT_BITS": sum(port.bits for port in outputs),
    }
    instance = f"  {module.name} tested (\n    " + ",\n    ".join(connections) + "\n  );"
    bench = written("testbench", "vectors", (), numbers, pieces={"instance": instance})
    return Module(bench.name, (), bench.text, 0, (module,))


def _connected(bus: str, ports: list[Port]) -> list[str]:
    places, start = [], 0
    for port in ports:
        places.append(f".{port.name}({bus}[{start} +: {port.bits}])")
        start += port.bits
    return places


def _split(lines: list[str], ports: list[Port]) -> dict[str, Tensor]:
    """The fields of words, each as its numbers (of 63 bits at most)."""
    whole, found = [int(line, 16) for line in lines], {}
    for port in ports:
        part = [f"{word & (1 << port.bits) - 1:0{-(-port.bits // 4)}x}" for word in whole]
        values = from_words(part, port.bits // port.numbers, port.signed)
        found[port.name] = values[:, 0] if port.numbers == 1 else values[:, : port.numbers]
        whole = [word >> port.bits for word in whole]
    return found
