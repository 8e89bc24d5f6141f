"""The jobs of a product: everything once, nothing too large for the engine."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.schedule import Outer, Product, jobs, row_tiles, rows_of_tiles
from spokeshave.errors import SpokeshaveError

ENGINES = st.builds(
    Engine,
    st.builds(Lanes, int8=st.sampled_from((2, 4, 8)), shift=st.integers(0, 6)),
    columns=st.sampled_from((4, 8)),
    depth=st.integers(1, 5),
    positions=st.integers(1, 7),
    load_bytes=st.sampled_from((8, 64)),
)
PRODUCTS = st.builds(
    Product,
    st.tuples(
        st.tuples(st.just("int8"), st.integers(1, 30)), st.tuples(st.just("shift"), st.integers(0, 30))
    ),
    st.integers(1, 120),
    st.integers(1, 20),
)


@settings(deadline=None)
@given(ENGINES, PRODUCTS, st.sampled_from(("rows", "positions")))
def test_jobs_cover_a_product_once(engine: Engine, product: Product, outer: Outer) -> None:
    work = list(jobs(engine, product, outer))
    tiles = row_tiles(engine, product)
    words = -(-product.columns // engine.columns)
    assert sum(job.words * job.positions for job in work) == tiles * words * product.positions
    assert len({(job.row_tile, job.column_pass, job.position_tile) for job in work}) == len(work)
    assert all(job.words <= engine.depth for job in work)
    assert all(job.words * job.positions <= engine.positions * engine.depth for job in work)
    assert sum(job.positions for job in work if job.first) == tiles * product.positions
    assert sum(job.first for job in work) == sum(job.last for job in work)


@settings(deadline=None)
@given(ENGINES, PRODUCTS)
def test_no_fewer_tiles_would_hold_the_rows(engine: Engine, product: Product) -> None:
    tiles, rows = row_tiles(engine, product), dict(product.rows)
    shift = min(rows["shift"], (tiles - 1) * engine.lanes.shift)
    assert (tiles - 1) * engine.lanes.int8 < rows["int8"] + rows["shift"] - shift


def test_what_differs_is_loaded() -> None:
    engine = Engine(Lanes(int8=4), columns=8, depth=4, positions=3)
    product = Product((("int8", 8),), 32, 6)
    by_rows = [(job.loads_weights, job.loads_inputs) for job in jobs(engine, product, "rows")]
    by_positions = [(job.loads_weights, job.loads_inputs) for job in jobs(engine, product, "positions")]
    assert by_rows == [(True, True), (False, True), (True, True), (False, True)]
    assert by_positions == [(True, True), (True, False), (True, True), (True, False)]


@settings(deadline=None)
@given(ENGINES, PRODUCTS)
def test_tiles_have_every_row_on_a_lane_that_holds_it(engine: Engine, product: Product) -> None:
    tiles, rows = rows_of_tiles(engine, product), dict(product.rows)
    on = {kind: sum(tile[kind] for tile in tiles) for kind in ("int8", "shift")}
    assert sum(on.values()) == product.row_count
    assert on["shift"] <= rows["shift"]
    assert all(tile[kind] <= engine.lanes.of(kind) for tile in tiles for kind in on)


def test_lanes_without_rows_are_not_stored() -> None:
    engine = Engine(Lanes(int8=6, shift=10), columns=8, outputs=4)
    (mixed,) = jobs(engine, Product((("int8", 6), ("shift", 7)), 8, 1))
    (fixed,) = jobs(engine, Product((("int8", 5),), 8, 1))
    assert (mixed.output_words, fixed.output_words) == (4, 2)


def test_lanes_for_bytes_take_what_they_have_room_for() -> None:
    engine = Engine(Lanes(int8=16, shift=16), columns=8, outputs=8)
    (job,) = jobs(engine, Product((("int8", 8), ("shift", 8)), 8, 1))
    assert job.output_words == 2
    (fuller,) = jobs(engine, Product((("int8", 10), ("shift", 12)), 8, 1))
    assert fuller.output_words == 3


def test_short_passes_have_more_positions() -> None:
    engine = Engine(Lanes(int8=4), columns=8, depth=4, positions=3)
    spans = [
        [job.positions for job in jobs(engine, Product((("int8", 4),), columns, 24))]
        for columns in (8, 16, 32)
    ]
    assert spans == [[12] * 2, [6] * 4, [3] * 8]
    (job,) = jobs(Engine(Lanes(int8=4), columns=8, depth=4, positions=300), Product((("int8", 4),), 8, 512))
    assert job.positions == 512


def test_formats_without_lanes_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match="no lanes for int8 weights"):
        row_tiles(Engine(Lanes(shift=8), 16), Product((("int8", 8),), 16, 1))
