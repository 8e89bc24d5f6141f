"""Auto-ViT-Acc's question (arXiv 2208.05163): which formats, at which ratio, reach a rate on a budget (*modelled*)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.search import Design, find_engine
from spokeshave.devices.proposals import proposed
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Workload

SHARES = tuple(eighth / 8 for eighth in range(1, 7))  # of rows that are powers of two


@dataclass(frozen=True)
class Precision:
    """Formats of weights: a plan for each of `shares` of rows with the second of them, the most precise first."""

    name: str
    plan: Callable[[float], Plan]
    shares: tuple[float, ...]


def everywhere(scheme: Scheme) -> Plan:
    """One scheme for every layer with weights."""
    return Plan((Rule("*", scheme),))


PRECISIONS = (
    Precision("8 bits", lambda share: everywhere(FixedPoint(8)), (0.0,)),
    Precision(
        "8 bits and powers of two",
        lambda share: everywhere(MixedRows(FixedPoint(8), PowerOfTwo(4), share)),
        SHARES,
    ),
    Precision(
        "4 bits and powers of two",
        lambda share: everywhere(MixedRows(FixedPoint(4), PowerOfTwo(4), share)),
        SHARES,
    ),
    Precision("powers of two alone", lambda share: everywhere(PowerOfTwo(4)), (1.0,)),
)


def precisions_of(device: FPGADevice, workload: Workload) -> tuple[Precision, ...]:
    """What a device can choose from: `PRECISIONS`, or its proposal where its lanes or its scales leave no choice."""
    if not device.engine.lanes.binary and device.engine.requantizer == "multiplier":
        return PRECISIONS
    proposal = proposed(device, workload)
    assert proposal is not None  # an FPGA has one
    plan = proposal.plan
    name = "signs" if device.engine.lanes.binary else "8 bits, scales that are powers of two"
    return (Precision(name, lambda share: plan, (0.0,)),)


@dataclass(frozen=True)
class Answer:
    """The precision, the share of rows that are powers of two, the plan, and the engine that was made for it."""

    precision: str
    share: float
    plan: Plan
    design: Design

    def sentence(self) -> str:
        """All of it for people to read."""
        device, mapped = self.design.device, self.design.mapped
        used = ", ".join(
            f"{100 * share:.0f} % of {name.upper()}"
            for name, share in device.used.shares(device.budget).items()
        )
        rows = f", {100 * self.share:.1f} % of the rows powers of two" if 0 < self.share < 1 else ""
        return (
            f"{self.precision}{rows}: {self.design.samples_per_second:.1f} samples a second and "
            f"{self.design.samples_per_joule:.1f} a joule, modelled, with {used} that designs may use; "
            f"{100 * mapped.utilisation:.0f} % of the lanes' products count"
        )


def answer(
    device: FPGADevice, workload: Workload, rate: float, precisions: Sequence[Precision] | None = None
) -> Answer:
    """The most precise formats, and of these the fewest rows of the second, with which a network reaches a rate.

    `rate` in samples a second; `precisions_of` the device unless others are given. For every choice an engine is
    searched, and those of earlier choices are tried. Raises SpokeshaveError where none reaches it, with the fastest,
    and where no choice has an engine, with the reason of the first.
    """
    if not rate > 0:
        raise SpokeshaveError(f"a rate must be above 0, not {rate:g}")
    fastest: Answer | None = None
    against: SpokeshaveError | None = None
    known: list[Engine] = []
    for precision in precisions or precisions_of(device, workload):
        for share in precision.shares:
            try:
                found = best_engine(device, workload, precision, share, known)
            except SpokeshaveError as reason:  # formats of fewer bits may fit all the same
                against = against or reason
                continue
            known.append(found.design.device.engine)
            if found.design.samples_per_second >= rate:
                return found
            if fastest is None or found.design.samples_per_second > fastest.design.samples_per_second:
                fastest = found
    if fastest is None:
        assert against is not None
        raise against
    raise SpokeshaveError(
        f"no engine reaches {rate:g} samples a second on {device.name}; the fastest: {fastest.sentence()}"
    )


def best_engine(
    device: FPGADevice, workload: Workload, precision: Precision, share: float, known: Iterable[Engine] = ()
) -> Answer:
    """The engine that is made for one choice, or the best of `known` ones where that is better."""
    plan = precision.plan(share)
    device.weight_bytes(workload, plan)  # refuses those larger than the memory, as a deployment would
    design = find_engine(device, device.works(workload, plan), known)
    return Answer(precision.name, share, plan, design)
