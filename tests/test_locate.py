import pytest

from spokeshave import locate
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder


def test_the_variable_goes_before_the_folder_beside_the_checkout(tmp_path, monkeypatch):
    beside = tmp_path / "shared" / "data" / "things"
    named = tmp_path / "elsewhere" / "things"
    beside.mkdir(parents=True)
    named.mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.delenv("SPOKESHAVE_DATA", raising=False)
    assert data_folder("things") == beside
    monkeypatch.setenv("SPOKESHAVE_DATA", str(named.parent))
    assert data_folder("things") == named


def test_a_missing_folder_is_one_sentence_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "__file__", str(tmp_path / "package" / "locate.py"))
    monkeypatch.setenv("SPOKESHAVE_DATA", str(tmp_path))
    with pytest.raises(SpokeshaveError, match="no folder nothing_like_it in SPOKESHAVE_DATA"):
        data_folder("nothing_like_it")
