"""Tables of accuracy beside time."""

from bench.accuracy_tables import row_sharing_tables, scheme_tables
from bench.tables import token_table


def row(scheme, precision, accuracy, milliseconds):
    return {
        "scheme": scheme,
        "precision": precision,
        "accuracy": accuracy,
        "test": accuracy,
        "milliseconds": milliseconds,
        "density": 0.5,
        "weight_bytes": 2000,
    }


def test_the_fastest_that_keeps_accuracy_is_named():
    rows = [
        row("dense", "float32", 0.9, 8.0),
        row("1 rows 2x", "float32", 0.899, 6.0),
        row("8 rows 2x", "float32", 0.896, 4.0),
        row("8 rows 4x", "float32", 0.894, 2.0),
    ]
    text = row_sharing_tables({"runs": [{"about": "a network", "pruning": "at once", "rows": rows}]})
    assert "**a network**: at once." in text
    assert "| 8 | 89.6%, 4 ms | 89.4%, 2 ms |" in text
    assert "| 1 | 89.9%, 6 ms | - |" in text
    assert (
        "The fastest point within 0.5 points of the dense float32 network has 8 rows a column set at 2x"
        in text
    )
    assert "0.4 points lost, 2.00x its speed" in text


def test_where_none_keeps_it_that_is_said():
    rows = [
        row("dense", "float32", 0.9, 8.0),
        row("dense", "int8", 0.8, 3.0),
        row("4 rows 2x", "float32", 0.6, 2.0),
        row("1 rows 2x", "int8", 0.7, 2.0),
    ]
    text = row_sharing_tables({"runs": [{"about": "a network", "pruning": "at once", "rows": rows}]})
    assert "No point is within 0.5 points of the dense int8 network; the least loss" in text
    assert "No point is within 0.5 points of the dense float32 network; the least loss" in text
    assert "1 row a column set at 2x in int8: 20.0 points lost, 4.00x its speed" in text


def test_schemes_stand_beside_the_dense_layer():
    rows = [
        row("dense", "float32", 0.9, 8.0),
        row("blocks", "float32", 0.8, 4.0),
        row("blocks", "int8", 0.8, 2.0),
    ]
    run = {"kind": "CNN", "network": "a network", "rate": 2, "rows": rows}
    text = scheme_tables({"runs": [run]})
    assert "| blocks | 80.0% | 0.500 | 2 kB |" in text
    assert "| blocks, in int8 | 80.0% | 0.500 | 2 kB |" in text
    assert "| 4.00x |" in text


def test_networks_with_selectors_stand_beside_those_with_all_tokens():
    one = {"tokens": [139, 79], "fewer_multiply_adds": 0.44, "selector_share": 0.026}
    times = {"dense": 10.0, "selected": 5.0, "dense int8": 4.0, "selected int8": 1.0}
    run = {"network": "tiny", "milliseconds": times, "selected": {"selected": one, "selected int8": one}}
    text = token_table({"runs": [run]})
    assert "| tiny | float32 | 139, 79 | 44% | 10 ms | 5 ms | 2x | 2.6% of the time |" in text
    assert "| tiny | int8 | 139, 79 | 44% | 4 ms | 1 ms | 4x | 2.6% of the time |" in text
