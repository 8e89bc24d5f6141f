"""The command line: one file a verb; nothing here imports PyTorch before a verb runs."""

import sys
import warnings

import typer

from spokeshave.cli import (
    bench,
    compile,
    demo,
    deploy,
    devices,
    evaluate,
    fit,
    papers,
    profile,
    prune_experts,
    report,
    run,
    schemes,
    verilog,
)
from spokeshave.errors import SpokeshaveError

INTERRUPTED = 130
MISTAKE = 2
UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # of whichever click this typer brings

app = typer.Typer(
    name="spokeshave",
    help="Fit a neural network to a device: smaller, compiled, and measurably faster there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _verb in (
    fit,
    demo,
    profile,
    compile,
    deploy,
    run,
    evaluate,
    bench,
    report,
    schemes,
    prune_experts,
    verilog,
):
    _name = _verb.__name__.rpartition(".")[2]
    app.command(_name.replace("_", "-"), epilog=_verb.EXAMPLE)(getattr(_verb, _name))
app.add_typer(devices.app, name="devices", epilog=devices.EXAMPLE)
app.add_typer(papers.app, name="papers", epilog=papers.EXAMPLE)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process; a user's mistake is one line on stderr and exit code 2."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: list[str] | None) -> int:
    try:
        return app(args=arguments, standalone_mode=False) or 0
    except SpokeshaveError as error:
        return _fail(str(error), MISTAKE)
    except UsageError as error:
        sentence = error.format_message()  # type: ignore[attr-defined]
        return _fail(sentence, MISTAKE) if sentence else 0  # no arguments: the help was shown
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)


def _fail(sentence: str, code: int) -> int:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    return code
