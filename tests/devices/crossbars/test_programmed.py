"""Products on crossbars: exact when nothing is lost, and else what a cell-by-cell simulation gives."""

from dataclasses import replace
from math import exp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.devices.crossbars import Array, effective_cycles, program
from spokeshave.devices.crossbars.mapping import map_weight
from spokeshave.devices.crossbars.programmed import convert, cuts_off
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.word_lines import word_lines

ENCODINGS = ("pairs", "offset", "polarized")


def whole(shape, low, high, seed=0):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def a_weight(shape, array, seed=0):
    most = array.largest_weight
    weight = whole(shape, -most, most + 1, seed)
    if array.encoding == "polarized":
        weight = Polarized(array.rows_at_once).project(weight.float()).int()
    return weight


def slowly(weight, x, array, conductances):
    """Cell by cell, by the definition: `conductances` [chunks, rows, groups, outputs]."""
    mapped, outputs = map_weight(weight, array), []
    lines, rows = mapped.lines.tolist(), array.rows_at_once
    for vector in x.tolist():
        on_lines = [vector[line] for line in lines]
        chunks = [on_lines[start : start + rows] for start in range(0, len(lines), rows)]
        totals = []
        for n in range(len(weight)):
            total = 0.0
            for c, chunk in enumerate(chunks):
                total += float(mapped.offset[c, n]) * sum(chunk)
                for bit in range(array.input_bits):
                    for g in range(mapped.coefficient.shape[1]):
                        column = sum(
                            float(conductances[c, i, g, n])
                            for i, value in enumerate(chunk)
                            if value >> bit & 1
                        )
                        if array.adc_bits is not None:
                            column = min(max(round(column), 0), 2**array.adc_bits - 1)
                        total += 2**bit * float(mapped.coefficient[c, g, n]) * column
            totals.append(total)
        outputs.append(totals)
    return torch.tensor(outputs, dtype=torch.float64)


@given(
    st.sampled_from(ENCODINGS),
    st.sampled_from([4, 8, 16]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([4, 8]),
    st.booleans(),
    st.integers(1, 40),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_nothing_lost_is_the_product_of_whole_numbers(
    encoding, rows, cell_bits, weight_bits, flipped, inputs, seed
):
    array = Array(
        rows=16, cell_bits=cell_bits, weight_bits=weight_bits, input_bits=8, encoding=encoding,
        rows_at_once=rows, flipped=flipped, adc_bits=None,
    )  # fmt: skip
    weight, x = a_weight((5, inputs), array, seed), whole((7, inputs), 0, 256, seed + 1)
    expected = (x @ weight.T.long()).double()
    programmed = program(weight, array)
    assert torch.equal(programmed.simulated(x), expected)
    assert torch.equal(programmed.products(x), expected)
    enough = replace(array, adc_bits=array.largest_sum.bit_length())
    assert enough.lossless
    assert torch.equal(program(weight, enough).simulated(x), expected)
    if enough.adc_bits > 1:
        assert not replace(enough, adc_bits=enough.adc_bits - 1).lossless


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("rows", "adc_bits", "variation"), [(4, 2, 0.0), (8, 3, 0.0), (8, 3, 0.3), (16, 3, 0.2)]
)
def test_what_converters_lose_is_that_of_the_definition(encoding, rows, adc_bits, variation):
    array = Array(
        rows=16, input_bits=4, weight_bits=5, encoding=encoding, rows_at_once=rows, adc_bits=adc_bits,
        variation=variation,
    )  # fmt: skip
    weight, x = a_weight((2, 22), array), whole((3, 22), 0, 16)
    programmed = program(weight, array, torch.Generator().manual_seed(3))
    found = programmed.products(x)
    assert torch.equal(found, slowly(weight, x, array, programmed.conductances))
    assert not torch.equal(found, (x @ weight.T.long()).double())


def test_looked_up_and_multiplied_sums_are_the_same():
    array = Array(rows_at_once=8, adc_bits=4, variation=0.1, encoding="pairs")
    weight, x = a_weight((40, 300), array), whole((50, 300), 0, 256)
    tabled = program(weight, array, torch.Generator().manual_seed(0))
    assert tabled.table is not None
    by_product = replace(tabled, table=None)
    assert torch.equal(tabled.products(x), by_product.products(x))


def test_a_flipped_encoding_saves_a_bit_of_the_converter():
    plain = Array(adc_bits=9)
    assert plain.lossless
    assert not replace(plain, adc_bits=8).lossless
    assert replace(plain, adc_bits=8, flipped=True).lossless
    assert Array(rows_at_once=4, adc_bits=4, encoding="polarized").lossless
    assert not Array(rows_at_once=8, adc_bits=4, encoding="polarized").lossless


@pytest.mark.parametrize(("adc_bits", "variation", "cut"), [(8, 0.1, False), (7, 0.1, True), (8, 2.0, True)])
def test_converters_that_no_sum_exceeds_cut_none_off(adc_bits, variation, cut):
    array = Array(encoding="offset", flipped=True, rows_at_once=128, adc_bits=adc_bits, variation=variation)
    programmed = program(whole((20, 130), -100, 100), array, torch.Generator().manual_seed(0))
    cells = programmed.conductances.flatten(2)
    assert cuts_off(cells, array) == cut
    if not cut:
        driven = whole((cells.shape[0], 50, 128), 0, 2).float()
        sums = torch.cat([torch.bmm(driven, cells), torch.bmm(torch.ones_like(driven), cells)])
        assert torch.equal(convert(sums.clone(), array, cut=False), convert(sums, array))


def test_variation_is_log_normal_around_the_levels():
    array = Array(variation=0.1, encoding="pairs", weight_bits=3, adc_bits=None)
    programmed = program(torch.full((100, 128), 3), array, torch.Generator().manual_seed(0))
    top = programmed.conductances[:, :, 0]
    assert top.log().std() == pytest.approx(0.1, rel=0.05)
    assert top.mean() == pytest.approx(3 * exp(0.005), rel=0.01)
    lowest = programmed.conductances[:, :, 1]
    assert 0 < lowest.abs().max() < 0.01


def test_word_lines_without_weights_are_left_out():
    weight = torch.zeros(4, 40, dtype=torch.int32)
    weight[:, 3], weight[:, 17] = 5, -6
    assert program(weight, Array()).mapped.lines.tolist() == [3, 17]
    polarized = Array(encoding="polarized", rows_at_once=8)
    lines = program(weight, polarized).mapped.lines.tolist()
    assert lines == [*range(8), *range(16, 24)]
    x = whole((5, 40), 0, 100)
    assert torch.equal(program(weight, polarized).simulated(x)[:, 0], (5 * x[:, 3] - 6 * x[:, 17]).double())
    assert not program(torch.zeros(4, 40), Array()).simulated(x).any()


@pytest.mark.parametrize("encoding", ["offset", "pairs", "polarized"])
def test_outputs_without_weights_have_no_cells_that_could_vary(encoding):
    weight = whole((6, 40), 1, 100)
    weight[1], weight[4] = 0, 0
    array = Array(encoding=encoding, rows_at_once=8, variation=0.5)
    programmed = program(weight, array, torch.Generator().manual_seed(0))
    assert programmed.mapped.outputs.tolist() == [0, 2, 3, 5]
    products = programmed.products(whole((7, 40), 0, 100))
    assert products[:, [0, 2, 3, 5]].all()
    assert not products[:, [1, 4]].any()
    assert not program(torch.zeros_like(weight), array).products(whole((7, 40), 0, 100)).any()


def test_an_order_of_word_lines():
    array, order = (
        Array(encoding="polarized", rows_at_once=8, adc_bits=4),
        word_lines((6, 8, 3, 3), "channel"),
    )
    kernels = Polarized(8, "channel").project(whole((6, 8, 3, 3), -127, 128).float())
    weight, x = kernels.flatten(1).int(), whole((9, 72), 0, 256)
    with pytest.raises(
        SpokeshaveError, match=r"of 54 fragments of 8 have weights of both signs; bring .*Polarized"
    ):
        program(weight, array)
    exact = replace(array, adc_bits=5)
    assert torch.equal(program(weight, exact, lines=order).simulated(x), (x @ weight.T.long()).double())


def test_cycles_are_those_of_the_highest_bit_of_a_fragment():
    x = torch.tensor([[0, 0, 255, 1, 256, 3, 65535]])
    assert effective_cycles(x, 2).tolist() == [[0, 8, 9, 16]]


def test_what_a_crossbar_cannot_do():
    with pytest.raises(
        SpokeshaveError, match="a weight is 128 units and the crossbar holds 8 bits, up to 127"
    ):
        program(torch.tensor([[128]]), Array())
    with pytest.raises(SpokeshaveError, match="inputs are from -1 to 3; the crossbar takes 0 to 65535"):
        program(torch.tensor([[1, 2]]), Array()).products(torch.tensor([[-1, 3]]))
    with pytest.raises(SpokeshaveError, match="rows_at_once must divide the 128 rows"):
        Array(rows_at_once=12)
    with pytest.raises(SpokeshaveError, match="encoding must be one of pairs, offset, polarized"):
        Array(encoding="signed")


@pytest.mark.parametrize("inputs", [5, 16, 37, 48])
def test_lines_that_the_last_chunk_lacks_change_nothing(inputs):
    """A weight on chunks that its word lines do not fill, beside the same with lines of zeros up to the end."""
    array = Array(rows=32, rows_at_once=16, adc_bits=4, variation=0.1, input_bits=4)
    weight = torch.randint(-100, 100, (6, inputs), generator=torch.Generator().manual_seed(0))
    x = torch.randint(0, 16, (9, inputs), generator=torch.Generator().manual_seed(1))
    programmed = program(weight, array, torch.Generator().manual_seed(2))
    cells, found = programmed.conductances, torch.zeros(9, 6, dtype=torch.float64)
    chunks = torch.nn.functional.pad(x, (0, -inputs % 16)).view(9, -1, 16)
    for bit in range(4):
        sums = torch.einsum("vcr,crgn->vcgn", (chunks >> bit & 1).float(), cells).round().clamp(0, 15)
        found += torch.einsum("vcgn,cgn->vn", sums.double(), programmed.mapped.coefficient.double()) * 2**bit
    found += chunks.sum(2).double() @ programmed.mapped.offset
    torch.testing.assert_close(programmed.products(x), found)
