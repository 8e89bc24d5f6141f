"""A Verilog module: its ports and numbers written here, its body in a template that is plain Verilog."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

CLOCK = "clk"


@dataclass(frozen=True)
class Port:
    """A port of so many bits in all, which are `numbers` side by side.

    `signed` says how whoever reads it must take them, `register` that an edge sets it.
    """

    name: str
    bits: int
    direction: Literal["input", "output"] = "input"
    signed: bool = False
    register: bool = False
    numbers: int = 1

    @property
    def declaration(self) -> str:
        """The line of the module's head."""
        width = f"[{self.bits - 1}:0] " if self.bits > 1 else ""
        return f"  {self.direction} {'reg' if self.register else 'wire'} {width}{self.name}"


@dataclass(frozen=True)
class Module:
    """A module that is written out: everything in it is a number.

    Its outputs belong to the inputs of `latency` cycles before, 0 where they follow without a clock. `uses` are the
    modules that stand in it.
    """

    name: str
    ports: tuple[Port, ...]
    text: str
    latency: int = 0
    uses: tuple["Module", ...] = ()

    def port(self, name: str) -> Port:
        """The port of that name."""
        return next(port for port in self.ports if port.name == name)


def written(
    name: str,
    template: str,
    ports: tuple[Port, ...],
    numbers: Mapping[str, int],
    latency: int = 0,
    uses: Mapping[str, Module] | None = None,
    pieces: Mapping[str, str] | None = None,
) -> Module:
    """A module from the body in `templates/`, whose `numbers` become local parameters.

    Where the body says `%{role}` it gets the name of the module that `uses` has for this role, or the text that
    `pieces` has.
    """
    uses, filled = dict(uses or {}), dict(pieces or {})
    filled |= {role: module.name for role, module in uses.items()}
    body = re.sub(r"%\{(\w+)\}", lambda found: filled[found[1]], _template(template))
    head = ",\n".join(port.declaration for port in ports)
    constants = "".join(f"  localparam {name} = {number};\n" for name, number in numbers.items())
    text = f"module {name} (\n{head}\n);\n{constants}{body}endmodule\n"
    return Module(name, ports, text, latency, tuple(uses.values()))


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", f"{name}.v").read_text()


def modules_of(top: Module) -> dict[str, Module]:
    """A module and all that stand in it, by name, those that are used first; two must not share a name."""
    found: dict[str, Module] = {}
    for module in _in_order(top):
        assert found.setdefault(module.name, module) == module, module.name
    return found


def _in_order(top: Module) -> Iterator[Module]:
    for module in top.uses:
        yield from _in_order(module)
    yield top


def source(top: Module) -> str:
    """The text of a module and of all that stand in it."""
    return "\n".join(module.text for module in modules_of(top).values())


def clock() -> Port:
    """The clock."""
    return Port(CLOCK, 1)


def bits_for(count: int) -> int:
    """Bits of a number below `count`, 1 at least.

    >>> [bits_for(count) for count in (1, 2, 3, 8, 9)]
    [1, 1, 2, 3, 4]
    """
    return max(1, (count - 1).bit_length())
