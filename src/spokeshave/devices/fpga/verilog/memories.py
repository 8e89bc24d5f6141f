"""Memories of words that are written beat by beat and read whole."""

from spokeshave.devices.fpga.verilog.module import Module, Port, bits_for, clock, written

BANK = """  {memory} bank_{number} (
    .clk(clk), .write(write && beat == {beat_bits}'d{number}), .write_address(write_address),
    .write_data(write_data[{top}:0]),
    .read_address(read_address), .read_data(read_data[{start} +: {width}])
  );
"""


def memory(bits: int, words: int) -> Module:
    """So many words of so many bits, one written and one read a cycle; what is read appears a cycle later."""
    address_bits = bits_for(words)
    ports = (
        clock(),
        Port("write", 1),
        Port("write_address", address_bits),
        Port("write_data", bits),
        Port("read_address", address_bits),
        Port("read_data", bits, "output", register=True),
    )
    numbers = {"BITS": bits, "DEPTH": words}
    return written(f"memory_{bits}x{words}", "memory", ports, numbers, latency=1)


def banks(bits: int, words: int, beat: int, beat_bits: int) -> Module:
    """The same where words come in beats of so many bits, the first in the lowest; their number has `beat_bits`."""
    widths = [min(beat, bits - start) for start in range(0, bits, beat)]
    memories = {width: memory(width, words) for width in widths}
    text = "".join(
        BANK.format(
            memory=memories[width].name,
            number=number,
            beat_bits=beat_bits,
            top=width - 1,
            start=number * beat,
            width=width,
        )
        for number, width in enumerate(widths)
    )
    ports = (
        clock(),
        Port("write", 1),
        Port("beat", beat_bits),
        Port("write_address", bits_for(words)),
        Port("write_data", beat),
        Port("read_address", bits_for(words)),
        Port("read_data", bits, "output"),
    )
    uses = {f"memory_{width}": module for width, module in memories.items()}
    name = f"banks_{bits}x{words}"
    return written(name, "banks", ports, {}, latency=1, uses=uses, pieces={"banks": text.rstrip()})
