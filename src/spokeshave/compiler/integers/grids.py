"""Which whole numbers stand for each value: observed ranges, values that must share, powers of two."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import frexp, prod

from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.integers.plan import MOVES, Division, read_whole
from spokeshave.compiler.integers.recurrent import memories
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.signs import SIGNS, levels_of_sums, sign_values, sums_before_signs
from spokeshave.compiler.operations import Attention, Mean, Pool, Quantization, Recurrent
from spokeshave.compiler.quantization.observers import (
    OBSERVERS,
    SHRINKS,
    Histogram,
    add,
    empty,
    quantization_error,
    quantization_of,
    widened,
)
from spokeshave.errors import naming

CLIPPED_BITS = 4  # how many powers of two below the one that holds everything are tried


def touched(graph: Graph, division: Division) -> tuple[str, ...]:
    """The values that operations in whole numbers read or make, in order."""
    nodes = [node for node in graph.nodes if node.outputs[0] in division.whole]
    return tuple(dict.fromkeys(name for node in nodes for name in (*_read(node), *node.outputs)))


def _read(node: Node) -> tuple[str, ...]:
    """What has levels, or bounds those that a recurrent layer's states have."""
    return node.inputs if isinstance(node.operation, Recurrent) else read_whole(node)


def observed(
    graph: Graph, batches: Iterable[tuple[Tensor, ...]], names: Iterable[str]
) -> dict[str, Histogram]:
    """Histograms of the named values over batches of samples; of an LSTM's last c at every step."""
    histograms = {name: empty() for name in names}
    for batch in batches:
        values = batch_values(graph, batch)
        values |= memories(graph, values)
        for name in histograms:
            with naming(name):
                histograms[name] = add(histograms[name], values[name])
    return histograms


def choose_grids(
    graph: Graph, division: Division, histograms: Mapping[str, Histogram], form: IntegerForm
) -> dict[str, Quantization]:
    """A quantization for every observed value; values that are moved or pooled have that of what they come from.

    Signs, and sums of which signs alone are read, have levels of their own.
    """
    shared = sharing(graph, division)
    known = dict.fromkeys(sums_before_signs(graph), levels_of_sums(form)) | dict.fromkeys(
        sign_values(graph), SIGNS
    )
    factors: dict[str, float] = {}
    grids: dict[str, Quantization] = {}
    for name in histograms:
        first = shared.get(name, name)
        members = [other for other in histograms if shared.get(other, other) == first]
        if name != members[0]:
            grids[name] = grids[members[0]]
            continue
        if known.keys() >= set(members):
            factors |= dict.fromkeys(members, 1.0)
            grids[name] = known[name]
            continue
        factor = _factor(graph, name, factors, form)
        factors |= dict.fromkeys(members, factor)
        joined = histograms[members[0]]
        for other in members[1:]:
            joined = _merged(joined, histograms[other])
        grids[name] = quantization_for(joined, form, factor)
    return grids


def quantization_for(histogram: Histogram, form: IntegerForm, factor: float = 1.0) -> Quantization:
    """The best quantization of what was observed; with powers of two its scale is one, times `factor`."""
    if form.scales == "arbitrary":
        most = (1 << form.activation_bits) - 1
        if form.observer == "mean_squared_error":
            return min(_shrunk(histogram, most), key=lambda each: quantization_error(histogram, each))
        return quantization_of(OBSERVERS[form.observer](histogram), most)
    if form.observer == "mean_squared_error":
        tried = powers_of_two((histogram.smallest, histogram.largest), form, factor)
        return min(tried, key=lambda each: quantization_error(histogram, each))
    return powers_of_two(OBSERVERS[form.observer](histogram), form, factor)[0]


def powers_of_two(
    bounds: tuple[float, float], form: IntegerForm, factor: float = 1.0, clipped_bits: int = CLIPPED_BITS
) -> list[Quantization]:
    """Quantizations whose scales are powers of two: the smallest that holds the range, then ever smaller ones."""
    low, high, bits = *bounds, form.activation_bits
    signed = form.signed or low < 0
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    needed = max(high / most, low / least if least else 0.0) / factor
    fraction, exponent = frexp(needed or 1.0)
    order = exponent - (fraction == 0.5)
    return [
        Quantization(2.0 ** (order - clipped) * factor, 0, least, most) for clipped in range(clipped_bits + 1)
    ]


def _shrunk(histogram: Histogram, most: int) -> list[Quantization]:
    shares = [1.0 - 0.8 * step / (SHRINKS - 1) for step in range(SHRINKS)]
    return [
        quantization_of((histogram.smallest * share, histogram.largest * share), most) for share in shares
    ]


def _merged(first: Histogram, second: Histogram) -> Histogram:
    """What was observed in both."""
    reach = max(first.reach, second.reach)
    counts = sum(widened(each.counts, (frexp(reach)[1] - frexp(each.reach)[1])) for each in (first, second))
    assert isinstance(counts, Tensor)
    bounds = min(first.smallest, second.smallest), max(first.largest, second.largest)
    return replace(first, counts=counts, reach=reach, smallest=bounds[0], largest=bounds[1])


def sharing(graph: Graph, division: Division) -> dict[str, str]:
    """For every value that must have the whole numbers of another, the first of its kind."""
    owner: dict[str, str] = {}

    def first(name: str) -> str:
        while owner.get(name, name) != name:
            name = owner[name]
        return name

    for node in graph.nodes:
        if node.outputs[0] in division.whole and passes_on(node):
            for name in (*node.inputs[1:], *node.outputs):
                owner[first(name)] = first(node.inputs[0])
    return {name: first(name) for name in [*owner]}


def passes_on(node: Node) -> bool:
    """Whether what a node makes has the whole numbers of what it reads."""
    operation = node.operation
    return isinstance(operation, MOVES) or (isinstance(operation, Pool) and operation.kind == "max")


def _factor(graph: Graph, name: str, factors: Mapping[str, float], form: IntegerForm) -> float:
    maker = graph.maker(name)
    weighed = maker is not None and isinstance(maker.operation, Attention)
    if form.rescale != "shift" or maker is None or (of := maker.inputs[2 if weighed else 0]) not in factors:
        return 1.0
    return own_factor(graph, maker, factors[of])


def own_factor(graph: Graph, node: Node, factor: float) -> float:
    """What a scale holds besides a power of two, from what is read: shifts cannot divide by every window's size."""
    if isinstance(node.operation, Recurrent):  # what it makes is gates' own
        return 1.0
    count = averaged(graph, node)
    return factor / (count / (count & -count))


def averaged(graph: Graph, node: Node) -> int:
    """How many numbers an average is over; 1 for a maximum."""
    operation = node.operation
    if isinstance(operation, Mean):
        return prod(int(graph.shape(node.inputs[0])[axis]) for axis in operation.axes)
    return prod(operation.kernel) if isinstance(operation, Pool) and operation.kind == "average" else 1
