"""Tables for the terminal."""

from io import StringIO

from rich.console import Console

from spokeshave.report.table import comparison_table, layer_table, plain_table, result_table


def shown(table) -> str:
    console = Console(width=140, file=StringIO())
    console.print(table)
    return console.file.getvalue()


def test_result_table(result):
    text = shown(result_table(result))
    for figure in (
        "8.5x fewer",
        "98.75 %",
        "99.10 %",
        "500 µs",
        "4.2x",
        "avx2",
        "measured",
        "conv.weight: 6.1 %",
    ):
        assert figure in text


def test_brackets_in_cells_are_no_markup():
    assert "a tensor `[count, rows]`" in shown(plain_table("", ("about",), [("a tensor `[count, rows]`",)]))


def test_layer_table(result):
    text = shown(layer_table(result["layers"]))
    assert "12.0 %" in text
    assert "8x" in text
    assert text.count("-") >= 3


def test_comparison_table(result):
    text = shown(comparison_table(result["table"], "some machine"))
    assert "6.6x" in text
    assert "some machine" in text
