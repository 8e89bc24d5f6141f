"""The command line as a process: quick to help, one line for a mistake."""

import resource
import subprocess
import sys

import pytest

VERBS = [
    "fit",
    "demo",
    "profile",
    "compile",
    "deploy",
    "run",
    "evaluate",
    "bench",
    "report",
    "schemes",
    "devices",
    "prune-experts",
]


def spokeshave(*arguments, **options):
    command = [sys.executable, "-c", "from spokeshave.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_help_takes_less_than_half_a_second_of_processor_time():
    """The best of three: processor time, which other programs on the machine hardly change."""

    def seconds():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(3):
        before = seconds()
        assert spokeshave("--help").returncode == 0
        times.append(seconds() - before)
    assert min(times) < 0.5


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['spokeshave', '--help']\n"
        "from spokeshave.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]")


def test_importing_the_package_imports_no_torch():
    script = "import sys, spokeshave; print('torch' in sys.modules, spokeshave.__version__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("False")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    from spokeshave.cli.main import main

    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"Example: spokeshave {verb}" in " ".join(capsys.readouterr().out.split())


def test_a_mistake_is_one_line_and_exit_code_two(tmp_path):
    done = spokeshave(
        "fit", "nets.py:network", "--data", "digits", "--compression", "8", "--output", "run", cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: there is no file nets.py\n".replace("nets.py", str(tmp_path / "nets.py"))
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_there():
    import spokeshave

    assert all(hasattr(spokeshave, name) for name in spokeshave.__all__)
    assert sorted(spokeshave._HOMES) == sorted(spokeshave.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = spokeshave.nothing
