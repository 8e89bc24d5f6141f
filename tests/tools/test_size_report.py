"""The size report counts, and fails on what is too long."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "tools" / "size_report.py"


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("size_report", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function(name: str, lines: int) -> str:
    return f"def {name}():\n" + "    pass\n" * (lines - 1)


def test_it_counts_files_and_functions(report, tmp_path, capsys) -> None:
    (tmp_path / "a.py").write_text(function("short", 3) + function("longer", 7))
    (tmp_path / "b.py").write_text("x = 1\n")
    assert report.main(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "11 lines" in printed
    assert "2 files      median 5.5, 90 % within 9.1, longest 10 (a.py)" in printed
    assert "2 functions  median 5, 90 % within 6.6, longest 7 (a.py:4 longer)" in printed


def test_long_functions_are_named_and_longer_ones_fail(report, tmp_path, capsys) -> None:
    (tmp_path / "a.py").write_text(function("long", 61))
    assert report.main(tmp_path) == 0
    assert "long function: a.py:1 long, 61 lines" in capsys.readouterr().out
    (tmp_path / "b.py").write_text(function("endless", 81))
    assert report.main(tmp_path) == 1
    assert "too long: b.py:1 endless, 81 lines" in capsys.readouterr().err


def test_long_files_fail(report, tmp_path, capsys) -> None:
    (tmp_path / "a.py").write_text("x = 1\n" * 501)
    (tmp_path / "b.py").write_text(function("short", 2))
    assert report.main(tmp_path) == 1
    assert "too long: a.py, 501 lines" in capsys.readouterr().err
