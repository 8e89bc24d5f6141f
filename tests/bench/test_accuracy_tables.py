"""Tables of accuracy beside time."""

from bench.accuracy_tables import best_point, reference, row_sharing_tables, scheme_tables, token_curve_table
from bench.paired import losses
from bench.plots import write_row_sharing_plot
from bench.tables import token_table
from bench.token_curves import chart, joined
from hypothesis import given
from hypothesis.strategies import lists, sampled_from


def row(scheme, precision, accuracy, milliseconds, dense=(0.9, 0.9), accuracies=(0.5,)):
    losses = [
        {"choosing": one - accuracy, "judging": one - accuracy + 0.001, "error": 0.002} for one in dense
    ]
    return {
        "scheme": scheme,
        "precision": precision,
        "accuracy": accuracy,
        "accuracies": list(accuracies),
        "losses": dict(zip(("float32", "int8"), losses, strict=True)),
        "test": accuracy,
        "milliseconds": milliseconds,
        "density": 0.5,
        "weight_bytes": 2000,
    }


def tables_of(rows):
    run = {"about": "a network", "pruning": "at once", "rows": rows}
    return row_sharing_tables({"runs": [run | {"dense_peers": {"another": {"milliseconds": 9.0}}}]})


def test_the_fastest_that_keeps_accuracy_is_named_and_judged_on_other_samples():
    rows = [
        row("dense", "float32", 0.9, 8.0),
        row("1 rows 2x", "float32", 0.899, 6.0),
        row("8 rows 2x", "float32", 0.896, 4.0, accuracies=(0.886, 0.906)),
        row("random 8 rows 2x", "float32", 0.898, 1.0),
        row("8 rows 4x", "float32", 0.894, 2.0),
        row("dense", "int8", 0.9, 5.0),
        row("8 rows 2x", "int8", 0.6, 2.5),
    ]
    text = tables_of(rows)
    assert "**a network**: at once." in text
    assert "The dense network in the same run elsewhere: another 9 ms." in text
    assert "In float32; dense: 90.0 %, 8 ms" in text
    assert "| 8 | 89.6 ± 1.4 %, 4 ms | 89.4 %, 2 ms |" in text
    assert "| 1 | 89.9 %, 6 ms | - |" in text
    assert "| random 8 | 89.8 %, 1 ms | - |" in text
    assert (
        "The fastest point that half of the samples see within 0.5 points of the dense float32 network: "
        "8 rows a column set at 2x in float32, 2.00x its speed; on the other half it loses 0.5 ± 0.2 points"
        in text
    )
    assert "The dense int8 network has 1.60x the speed of the dense float32 one." in text


def test_the_chart_has_a_dot_for_every_point(tmp_path):
    rows = [row(f"{count} rows 2x", "float32", 0.9 - count / 1000, 1 / count) for count in (1, 4, 8)]
    rows += [row("random 8 rows 2x", "float32", 0.8, 1.0), row("4 rows 2x", "int8", 0.897, 0.1)]
    rows += [row("dense", precision, 0.905, 1.5) for precision in ("float32", "int8")]
    drawn = write_row_sharing_plot({"about": "a network", "rows": rows}, tmp_path / "a.svg").read_text()
    assert drawn.count('r="2.5"') == 3 + 1 + 2
    assert all(told in drawn for told in ("float32 2x", "int8 2x", "89 %", "91 %"))
    assert "80 %" not in drawn


def test_where_none_keeps_it_that_is_said():
    rows = [
        row("dense", "float32", 0.9, 8.0),
        row("dense", "int8", 0.8, 3.0),
        row("4 rows 2x", "float32", 0.6, 2.0, (0.9, 0.8)),
        row("1 rows 2x", "int8", 0.7, 2.0, (0.9, 0.8)),
    ]
    text = tables_of(rows)
    assert "Half of the samples see no point within 0.5 points of the dense int8 network; the least" in text
    assert "Half of the samples see no point within 0.5 points of the dense float32 network; the" in text
    assert (
        "1 row a column set at 2x in int8, 4.00x its speed; on the other half it loses 20.1 ± 0.2 points"
        in text
    )


def test_the_dense_network_is_the_better_of_both():
    alike = row("dense, trained alike", "float32", 0.92, 8.0)
    dense = [row("dense", precision, 0.9, 8.0) for precision in ("float32", "int8")]
    pruned = [row("8 rows 2x", precision, 0.9, 4.0, (0.92, 0.92)) for precision in ("float32", "int8")]
    rows = [*dense, alike, *pruned]
    assert reference(rows, "float32") is alike
    assert not best_point(rows)["within"]
    assert "dense: 90.0 %, 8 ms; dense, trained alike: 92.0 %, 8 ms" in tables_of(rows)


@given(lists(lists(sampled_from("01"), min_size=4, max_size=12).map("".join), min_size=1, max_size=3))
def test_losses_are_differences_of_accuracy(answers):
    dense = ["1" * len(one) for one in answers]
    found = losses(dense, answers)
    for part, start in (("choosing", 0), ("judging", 1)):
        wrong = [one[start::2].count("0") / len(one[start::2]) for one in answers]
        assert abs(found[part] - sum(wrong) / len(wrong)) < 1e-9
    assert losses(answers, answers) == {"choosing": 0, "judging": 0, "error": 0}


def test_schemes_stand_beside_the_dense_layer():
    rows = [
        row("dense", "float32", 0.9, 8.0),
        row("blocks", "float32", 0.8, 4.0),
        row("blocks", "int8", 0.8, 2.0),
    ]
    rows = [rows[0], *(one | {"packed_bytes": 1200} for one in rows[1:])]
    origin = {"machine": {"cpu": "a processor"}, "date": "today"}
    text = scheme_tables(
        {"runs": [origin | {"kind": "CNN", "network": "a network", "rate": 2, "rows": rows}]}
    )
    assert "**CNN**: a network, 2x, timed on a processor, today" in text
    assert "| dense | 90.0% | 0.500 | - | 2 kB |" in text
    assert "| blocks | 80.0% | 0.500 | 1 kB | 2 kB |" in text
    assert "| blocks, in int8 | 80.0% | 0.500 | 1 kB | 2 kB |" in text
    assert "| 4.00x |" in text


def test_networks_with_selectors_stand_beside_those_with_all_tokens():
    one = {"tokens": [139, 79], "fewer_multiply_adds": 0.44, "selector_share": 0.026}
    times = {"dense": 10.0, "selected": 5.0, "dense int8": 4.0, "selected int8": 1.0}
    run = {"network": "tiny", "milliseconds": times, "selected": {"selected": one, "selected int8": one}}
    text = token_table({"runs": [run]})
    assert "| tiny | float32 | 139, 79 | 44% | 10 ms | 5 ms | 2x | 2.6% of the time |" in text
    assert "| tiny | int8 | 139, 79 | 44% | 4 ms | 1 ms | 4x | 2.6% of the time |" in text


def test_curves_of_accuracy_and_time_begin_at_the_dense_network():
    whole = {
        "kind": "dense",
        "keep": 1.0,
        "tokens": 65,
        "removed": 0.0,
        "accuracies": [0.98, 0.98],
        "milliseconds": 0.8,
    }
    half = {
        "kind": "selector",
        "keep": 0.5,
        "tokens": 33.4,
        "removed": 0.4,
        "accuracies": [0.97, 0.95],
        "milliseconds": 0.4,
    }
    text = token_curve_table({"runs": [{"rows": [whole, half]}]})
    assert "| dense | all | 65 | 0% | 98.0 ± 0.0 % | 800 µs | 1.00x |" in text
    assert "| selector | 50% | 33 | 40% | 96.0 ± 1.4 % | 400 µs | 2.00x |" in text
    drawn = chart([whole, half])
    assert drawn.count("<polyline") == 3
    assert "µs 400<" in drawn


def test_accuracies_of_all_seeds_are_joined():
    seeds = [
        [{"kind": "random", "keep": 0.3, "tokens": 30.0, "removed": 0.5, "accuracy": accuracy}]
        for accuracy in (0.9, 0.8)
    ]
    (row,) = joined(seeds)
    assert row["accuracies"] == [0.9, 0.8]
    assert (row["tokens"], row["removed"]) == (30.0, 0.5)
