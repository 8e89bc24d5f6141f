"""Attention on token planes against PyTorch: odd sizes, masks of every form, shared keys, windows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import run_back_end, run_program
from tests.compiler.emulated_amx import emulated_amx
from torch import Tensor

from spokeshave.attention_call import AttentionCall
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Attention
from spokeshave.compiler.reference import run_reference
from spokeshave.polynomials import polynomial_softmax

SEAM = 2e-4  # of a polynomial exponential, of the largest output


def graph_of(operation: Attention, shapes: list[tuple[int, ...]], width: int, weights=None) -> Graph:
    names = ("query", "key", "value", "mask")[: len(shapes)]
    values = {name: Value(name, (1, *shape)) for name, shape in zip(names, shapes, strict=True)}
    values["y"] = Value("y", (1, shapes[0][0], width))
    return Graph(names, ("y",), values, (Node("layer", operation, names, ("y",)),), weights or {})


def heads(tokens: Tensor, windows: int, count: int) -> Tensor:
    """`[windows, heads, tokens, size]` of one sample."""
    return tokens.reshape(windows, -1, count, tokens.shape[-1] // count).transpose(1, 2)


def expected(operation: Attention, inputs: list[Tensor], mask: Tensor | None) -> Tensor:
    samples = []
    for query, key, value in zip(*inputs[:3], strict=True):
        q = heads(query, operation.windows, operation.heads)
        k, v = (heads(x, operation.windows, operation.key_heads) for x in (key, value))
        y = attended(
            AttentionCall.of(q, k, v, mask, scale=operation.scale, enable_gqa=True), operation.polynomial
        )
        samples.append(y.transpose(1, 2).reshape(query.shape[0], -1))
    return torch.stack(samples)


def attended(call: AttentionCall, polynomial: float | None) -> Tensor:
    return (
        call.attend() if polynomial is None else call.weigh(polynomial_softmax(call.scores(), -1, polynomial))
    )


def check(
    back_end, operation, queries, keys, size, value_size=None, mask=None, shown=None, isa=None, tolerance=1e-5
) -> None:
    """`mask` is what the kernel is given as a value; `shown` is what PyTorch is given."""
    torch.manual_seed(0)
    value_size = value_size or size
    shapes = [
        (queries, operation.heads * size),
        (keys, operation.key_heads * size),
        (keys, operation.key_heads * value_size),
    ]
    inputs = [torch.randn(2, *shape) for shape in shapes]
    reference = expected(operation, inputs, mask if shown is None else shown)
    weights = {}
    if mask is not None and operation.mask:
        weights["mask"] = mask
    elif mask is not None:
        shapes.append(tuple(mask.shape[1:]))
        inputs.append(mask.expand(2, *mask.shape[1:]).contiguous())
    graph = graph_of(operation, shapes, operation.heads * value_size, weights)
    (result,) = back_end(graph, inputs, isa)
    assert (result - reference).abs().max() <= tolerance * max(1.0, reference.abs().max().item())
    if operation.half:  # roundings of single exponentials may differ, by 2^-8 of these
        (emulated,) = run_reference(graph, inputs)
        assert (result - emulated).abs().max() <= 2e-3 * max(1.0, reference.abs().max().item())


@pytest.mark.parametrize("size", [1, 7, 16])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (2, 19), (33, 5), (65, 17)])
def test_without_mask(back_end, isa, queries, keys, size):
    check(back_end, Attention(3, 3, 0.37), queries, keys, size, isa=isa)


@pytest.mark.parametrize("size", [1, 7, 16])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (2, 19), (33, 5), (65, 17), (20, 600)])
def test_in_bfloat16(back_end, integer_isa, queries, keys, size):
    check(back_end, Attention(3, 3, 0.37, half=True), queries, keys, size, isa=integer_isa, tolerance=2e-2)


@pytest.mark.parametrize("size", [1, 7, 16, 48])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (2, 19), (33, 5), (65, 17), (20, 600)])
def test_in_tile_registers(queries, keys, size):
    """What fills tiles up is zero, so numbers behind the last key, or channel, must not matter."""
    check(in_tiles, Attention(3, 3, 0.37, half=True), queries, keys, size, tolerance=2e-2)


def in_tiles(graph, inputs, isa):
    """A back end whose tile instructions are emulated."""
    tiles = emulated_amx()
    return run_program(lower(graph, tiles, {}), graph, inputs, tiles)


@pytest.mark.parametrize("tiles", [False, True])
def test_masks_and_shared_keys_in_bfloat16(back_end, tiles):
    back_end = in_tiles if tiles else back_end
    seen = torch.ones(37, 301, dtype=torch.bool).tril(264)
    causal = Attention(4, 2, 0.5, causal=True, half=True)
    check(back_end, causal, 37, 301, 8, value_size=5, shown=seen, tolerance=2e-2)
    mask = torch.randn(3, 2, 7, 7).masked_fill(torch.rand(3, 2, 7, 7) < 0.3, -torch.inf)
    windows = Attention(2, 2, 0.5, windows=3, mask="mask", half=True)
    check(back_end, windows, 21, 21, 6, mask=mask, tolerance=2e-2)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (2, 19), (33, 5), (65, 17), (21, 600)])
def test_polynomial_exponentials(back_end, isa, queries, keys):
    """Between halvings the parabola steps by 1e-4: a score that rounds to another side may differ by so much."""
    polynomial = Attention(3, 3, 0.37, polynomial=0.5)
    check(back_end, polynomial, queries, keys, 16, isa=isa, tolerance=SEAM)
    half = Attention(3, 3, 0.37, half=True, polynomial=0.5)
    check(back_end, half, queries, keys, 16, isa=isa, tolerance=2e-2)


def test_polynomial_exponentials_of_masked_scores(back_end):
    seen = torch.ones(37, 301, dtype=torch.bool).tril(264)
    causal = Attention(4, 2, 0.5, causal=True, polynomial=1.0)
    check(back_end, causal, 37, 301, 8, value_size=5, shown=seen, tolerance=SEAM)
    mask = torch.randn(3, 2, 7, 7).masked_fill(torch.rand(3, 2, 7, 7) < 0.3, -torch.inf)
    windows = Attention(2, 2, 0.5, windows=3, mask="mask", polynomial=0.5)
    check(back_end, windows, 21, 21, 6, mask=mask, tolerance=SEAM)


def test_values_of_another_width(back_end):
    check(back_end, Attention(2, 2, 0.5), 18, 21, 5, value_size=11)


def test_more_keys_than_a_tile_of_scores(back_end):
    check(back_end, Attention(1, 1, 3.0), 20, 600, 4)


@pytest.mark.parametrize(("queries", "keys"), [(37, 37), (5, 37), (1, 300)])
def test_causal(back_end, isa, queries, keys):
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    check(back_end, Attention(2, 2, 0.5, causal=True), queries, keys, 8, shown=seen, isa=isa)


@pytest.mark.parametrize("key_heads", [1, 2, 6])
def test_heads_that_share_keys(back_end, key_heads):
    check(back_end, Attention(6, key_heads, 0.5), 17, 23, 4)


def test_windows_with_masks_of_their_own(back_end, isa):
    mask = torch.randn(3, 2, 7, 7)
    check(back_end, Attention(2, 2, 0.5, windows=3), 21, 21, 6, isa=isa)
    check(back_end, Attention(2, 2, 0.5, windows=3, mask="mask"), 21, 21, 6, mask=mask, isa=isa)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 13), (1, 1, 18, 13), (1, 2, 18, 13), (1, 2, 1, 13), (18, 13)], ids=str
)
def test_constant_masks(back_end, shape):
    mask = torch.randn(shape).masked_fill(torch.rand(shape) < 0.3, -torch.inf)
    check(back_end, Attention(2, 2, 0.5, mask="mask"), 18, 13, 4, mask=mask)


@pytest.mark.parametrize("shape", [(1, 13), (1, 1, 1, 13), (1, 1, 18, 13), (1, 2, 18, 13)], ids=str)
def test_masks_that_are_values(back_end, shape):
    mask = torch.randn(shape).masked_fill(torch.rand(shape) < 0.3, -torch.inf)
    check(back_end, Attention(2, 2, 0.5), 18, 13, 4, mask=mask)


def test_a_query_that_sees_nothing_gives_zeros(back_end):
    mask = torch.zeros(1, 1, 9, 6)
    mask[0, 0, 4] = -torch.inf
    inputs = [torch.randn(1, 9, 8), torch.randn(1, 6, 8), torch.randn(1, 6, 8)]
    for polynomial in (None, 0.5):
        operation = Attention(2, 2, 0.5, mask="mask", polynomial=polynomial)
        (result,) = back_end(graph_of(operation, [(9, 8), (6, 8), (6, 8)], 8, {"mask": mask}), inputs)
        assert torch.equal(result[0, 4], torch.zeros(8))
        assert result[0, 3].abs().min() > 0


@pytest.mark.parametrize("hidden", [-88.5, -95.0, -103.0])
def test_no_share_lies_between_zero_and_the_smallest_normal_number(back_end, isa, hidden):
    """Such numbers take a hundred times as long; Swin hides scores by -100, not by minus infinity."""
    mask = torch.zeros(1, 1, 9, 6)
    mask[..., 5] = hidden
    value = torch.zeros(1, 6, 8)
    value[:, 5] = 1e38
    graph = graph_of(Attention(2, 2, 0.5, mask="mask"), [(9, 8), (6, 8), (6, 8)], 8, {"mask": mask})
    (result,) = back_end(graph, [torch.zeros(1, 9, 8), torch.zeros(1, 6, 8), value], isa)
    assert torch.equal(result, torch.zeros(1, 9, 8))


def test_not_a_number_is_not_hidden(back_end):
    inputs = [torch.randn(1, 9, 8) for _ in range(3)]
    inputs[0][0, 2, 1] = torch.nan
    (result,) = back_end(graph_of(Attention(2, 2, 0.5), [(9, 8)] * 3, 8), inputs)
    assert result[0, 2, :4].isnan().all()
    assert not result[0, 3].isnan().any()


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    windows=st.integers(1, 3),
    key_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    size=st.integers(1, 19),
    queries=st.integers(1, 37),
    keys=st.integers(1, 37),
    causal=st.booleans(),
    hidden=st.sampled_from([None, 0.0, 0.5, 1.0]),
)
def test_any_shape(windows, key_heads, group, size, queries, keys, causal, hidden):
    """`hidden` is the share of keys that a constant mask hides: 1.0 leaves no query a key to see."""
    causal = causal and queries <= keys
    shape = (windows, key_heads * group, queries, keys)
    mask = None if hidden is None else torch.randn(shape).masked_fill(torch.rand(shape) < hidden, -torch.inf)
    operation = Attention(
        key_heads * group, key_heads, 0.4, windows, causal, None if mask is None else "mask"
    )
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries) | (not causal)
    shown = (torch.zeros(shape) if mask is None else mask).masked_fill(~seen, -torch.inf)
    heads_and_size = [(queries, key_heads * group), (keys, key_heads), (keys, key_heads)]
    shapes = [(windows * tokens, count * size) for tokens, count in heads_and_size]
    inputs = [torch.randn(1, *tensor) for tensor in shapes]
    weights = {} if mask is None else {"mask": mask}
    (result,) = run_back_end(graph_of(operation, shapes, shapes[0][1], weights), inputs)
    wanted = expected(operation, inputs, shown).nan_to_num(0.0)  # a query that sees nothing gives zeros
    assert (result - wanted).abs().max() <= 1e-5 * max(1.0, wanted.abs().max().item())
