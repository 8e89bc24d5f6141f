"""Trees of adders, a register behind every level."""

from spokeshave.devices.fpga.verilog.module import Module, Port, clock, written

LEVEL = """  // {count} of {bits} bits
  reg [{count}*{bits}-1:0] level_{number};
  always @(posedge clk) begin
{sums}  end
"""


def adder_tree(count: int, bits: int, signed: bool = True) -> Module:
    """The sum of `terms`, so many numbers of so many bits, as `sum`; a level of adders a cycle."""
    levels, widths = tree_levels(count), [bits]
    pieces = []
    for number, left in enumerate(levels, 1):
        before = levels[number - 2] if number > 1 else count
        pieces.append(_level(number, left, before, widths[-1], signed))
        widths.append(widths[-1] + 1)
    last = f"level_{len(levels)}" if levels else "terms"
    idle = "" if levels else "  wire unused = clk;\n"
    ports = (clock(), Port("terms", count * bits), Port("sum", widths[-1], "output", signed))
    return written(
        f"adder_tree_{count}x{bits}{'' if signed else 'u'}",
        "adder_tree",
        ports,
        {},
        latency=len(levels),
        pieces={"levels": "".join(pieces) + idle + f"  assign sum = {last};"},
    )


def tree_levels(count: int) -> list[int]:
    """How many sums each level makes.

    >>> tree_levels(9)
    [5, 3, 2, 1]
    """
    levels = []
    while count > 1:
        count = (count + 1) // 2
        levels.append(count)
    return levels


def _level(number: int, count: int, before: int, bits: int, signed: bool) -> str:
    """Neighbours of the level before, added; one that is left over goes on as it is."""
    source = f"level_{number - 1}" if number > 1 else "terms"

    def extended(index: int) -> str:
        high = f"{source}[{(index + 1) * bits - 1}]" if signed else "1'b0"
        return f"{{{high}, {source}[{index * bits} +: {bits}]}}"

    sums = ""
    for index in range(count):
        pair = [extended(part) for part in (2 * index, 2 * index + 1) if part < before]
        sums += f"    level_{number}[{index * (bits + 1)} +: {bits + 1}] <= {' + '.join(pair)};\n"
    return LEVEL.format(count=count, bits=bits + 1, number=number, sums=sums)
