"""Every check runs from end to end in its quick form, in a folder where nothing is remembered."""

import json
import os
import subprocess
import sys

import pytest
from papers.record import HERE

pytestmark = pytest.mark.slow


NAMES = [
    "auto_vit_acc",
    "clicktrain",
    "fpga_vs_mobile",
    "heatvit",
    "lpvit",
    "opq",
    "prune_and_finetune",
    "spvit",
    "superbnn",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_check_finds_something(name, tmp_path):
    pytest.importorskip("sklearn")
    output = tmp_path / "found.json"
    command = [sys.executable, "-m", f"papers.{name}", "--quick", "--output", str(output)]
    paths = os.pathsep.join([str(HERE.parent), str(HERE.parent / "src")])
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, check=True, timeout=600)
    document = json.loads(output.read_text())
    assert document["findings"]
    assert all(finding["measured"] for finding in document["findings"])
    assert list((tmp_path / "runs" / "papers" / name).glob("*.json"))
