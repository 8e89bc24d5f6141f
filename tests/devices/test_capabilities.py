"""The table of devices: asked of the devices themselves, and true in the documentation."""

from pathlib import Path

import pytest

from spokeshave.devices import device_names, load_device
from spokeshave.devices.capabilities import capabilities, capability

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"


def test_every_device_is_listed_once():
    assert [entry.name for entry in capabilities()] == list(device_names())


@pytest.mark.parametrize(
    ("name", "takes", "not_taken"),
    [
        ("aqfp", {"binary"}, "fixed_point"),
        ("forms", {"polarized"}, "unstructured"),
        ("integers-multiplier", {"fixed_point", "binary", "mixed_rows"}, "codebook"),
        ("galaxy-s10-cpu", {"block_column_row", "fixed_point"}, "patterns"),
    ],
)
def test_schemes_are_those_that_the_device_supports(name, takes, not_taken):
    found = capability(load_device(name)).schemes
    assert takes <= set(found)
    assert not_taken not in found


def test_what_cannot_run_says_so():
    deployments = {entry.name: entry.deployment for entry in capabilities()}
    assert deployments["galaxy-s20-gpu"] == ""
    assert "neon" in deployments["raspberry-pi-4"]
    assert deployments["host"]


def test_the_documentation_has_the_same_table():
    text = PAGE.read_text()
    most = max(len(entry.schemes) for entry in capabilities())
    for entry in capabilities():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{entry.name}` |")]
        _, _, costs, schemes, deployment, _ = (cell.strip() for cell in line.split("|"))
        told = "all" if len(entry.schemes) == most else ", ".join(entry.schemes) or "dense alone"
        assert (costs, schemes, deployment) == (entry.kind, told, entry.deployment or "none: costs alone")
