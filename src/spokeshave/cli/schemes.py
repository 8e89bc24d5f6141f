"""`spokeshave schemes`: the sets of weights that a plan may name."""

from typing import Any

from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave schemes --json"


def schemes(json: Json = False) -> None:
    """List the schemes, their settings and their defaults."""
    from dataclasses import MISSING, fields

    from spokeshave.report.table import plain_table
    from spokeshave.schemes.registry import SCHEMES

    entries: list[dict[str, Any]] = []
    for name, kind in SCHEMES.items():
        settings = {entry.name: None if entry.default is MISSING else entry.default for entry in fields(kind)}
        about = (kind.__doc__ or "").strip().splitlines()[0]
        entries.append({"scheme": name, "about": about, "settings": settings})
    if json:
        print_json(entries)
        return
    rows = [(entry["scheme"], _settings(entry["settings"]), entry["about"]) for entry in entries]
    console().print(plain_table("Schemes", ("scheme", "settings", "what it is"), rows))


def _settings(settings: dict[str, object]) -> str:
    return ", ".join(name if value is None else f"{name}={value}" for name, value in settings.items())
