"""C source -> library: cached by content, failures in one sentence, compilers found or named."""

import pytest

from spokeshave.compiler import build, isa
from spokeshave.compiler.build import build_library, find_compiler, load_library
from spokeshave.compiler.isa import best_here, instruction_set, instruction_sets, runs_here, why_not_here
from spokeshave.errors import SpokeshaveError

SOURCE = '__attribute__((visibility("default"))) int answer(void) { return %d; }'


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    find_compiler.cache_clear()
    yield
    find_compiler.cache_clear()


def test_the_same_source_is_compiled_once():
    first = build_library(SOURCE % 42, best_here())
    made = first.stat().st_mtime_ns
    assert load_library(first).answer() == 42
    assert build_library(SOURCE % 42, best_here()) == first
    assert first.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[::-1]]
)
def test_a_damaged_cache_entry_is_built_again(damage):
    library = build_library(SOURCE % 42, best_here())
    library.write_bytes(damage(library.read_bytes()))
    assert load_library(build_library(SOURCE % 42, best_here())).answer() == 42


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_cache_entry_without_its_digest_is_built_again(content):
    library = build_library(SOURCE % 42, best_here())
    digest = library.with_suffix(".sha256")
    digest.unlink() if content is None else digest.write_bytes(content)
    library.write_bytes(b"")
    assert load_library(build_library(SOURCE % 42, best_here())).answer() == 42


def test_a_library_that_the_system_cannot_load_is_one_sentence(tmp_path):
    (tmp_path / "model.so").write_bytes(b"no library")
    with pytest.raises(SpokeshaveError, match="could not load"):
        load_library(tmp_path / "model.so")


def test_other_sources_and_instruction_sets_are_other_libraries():
    libraries = {build_library(SOURCE % 1, best_here()), build_library(SOURCE % 2, best_here())}
    libraries.add(build_library(SOURCE % 1, instruction_set("portable")))
    assert len(libraries) == 3


def test_a_source_that_does_not_compile_is_one_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(SpokeshaveError, match="could not build the generated C"):
        build_library("int broken(", best_here())
    assert not list(tmp_path.rglob("*.so"))


def test_a_named_compiler_must_exist(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(SpokeshaveError, match="no-such-compiler"):
        find_compiler()


def test_without_any_compiler_the_sentence_names_the_way_out(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpokeshaveError, match=r"spokeshave\[zig\]"):
        find_compiler()


def test_without_another_compiler_the_ziglang_wheel_serves_and_says_so(tmp_path, monkeypatch):
    pytest.importorskip("ziglang")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = find_compiler()
    assert found.zig
    assert found.version.endswith("of the ziglang wheel")


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SpokeshaveError, match="cannot write the cache folder"):
        build_library(SOURCE % 3, best_here())


def test_an_unknown_instruction_set_names_the_known_ones():
    with pytest.raises(SpokeshaveError, match="avx512"):
        instruction_set("avx1024")


def test_what_this_cpu_lacks_is_named(monkeypatch):
    monkeypatch.setattr(
        isa, "cpu_features", lambda: frozenset(instruction_set("avx2").features) | {"avx512f"}
    )
    assert runs_here(instruction_set("avx2"))
    assert why_not_here(instruction_set("avx512")) == "this CPU lacks avx512bw, avx512cd, avx512dq, avx512vl"
    assert best_here().name == "avx2"
    monkeypatch.setattr(isa.platform, "machine", lambda: "aarch64")
    assert why_not_here(instruction_set("avx2")) == "it is for x86_64, this machine is aarch64"


def test_register_tiles_fit_the_registers():
    for entry in instruction_sets().values():
        for rows, vectors in entry.rows_by_vectors:
            assert rows * vectors + vectors + 1 <= entry.registers, (entry.name, rows, vectors)
    assert runs_here(instruction_set("portable"))


def test_a_named_compiler_may_have_arguments(monkeypatch):
    monkeypatch.setenv("CC", "gcc -m64")
    assert find_compiler().command[1:] == ("-m64",)


def test_a_compiler_that_says_nothing_is_one_sentence():
    compiler = build.Compiler(("false",), "a silent compiler")
    with pytest.raises(SpokeshaveError, match="exit status 1 without a message"):
        build_library("int f;", best_here(), compiler)
