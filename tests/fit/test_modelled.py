"""The whole job for devices that are modelled: small networks on each family, refused plans, resumption."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from spokeshave.devices import load_device
from spokeshave.devices.saved import load_saved
from spokeshave.errors import SpokeshaveError
from spokeshave.fit import Recipe, resume_run, start_run
from spokeshave.fit.inputs import gather
from spokeshave.fit.modelled import deployed, judged, runs_as, stays_float
from spokeshave.fit.outcome import without_timings
from spokeshave.measure import evaluate
from spokeshave.report.page import page

PARTS = """
import torch
from torch import nn
from spokeshave.networks import binary_perceptron


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=0.5), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )


def signs(): return binary_perceptron(64, (32,), 3, threshold=0.0)


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    wave = torch.sin(torch.arange(8.0))
    waves = torch.stack([wave[:, None].expand(8, 8), wave.expand(8, 8), torch.zeros(8, 8)])
    return waves[labels][:, None] + 0.3 * torch.randn(count, 1, 8, 8, generator=generator), labels


def data():
    return [list(zip(*(part.split(16) for part in images(*how)))) for how in ((128, 1), (40, 2))]


def loaders(): return tuple(data())
"""
POLARIZED = {"scheme": "intersection", "parts": [{"scheme": "polarized"}, {"scheme": "fixed_point"}]}
MIXED = {
    "first": {"scheme": "fixed_point", "bits": 8},
    "second": {"scheme": "power_of_two", "bits": 4},
    "share": 0.5,
}
JOBS = {
    "forms": ("network", "admm", {"*": POLARIZED}),
    "isaac": ("network", "one_shot", {"4": {"scheme": "fixed_point", "bits": 4}}),
    "aqfp": ("signs", "randomized_binary", {"5": "dense", "*": {"scheme": "binary"}}),
    "zcu102-binary": ("signs", "randomized_binary", {"5": "dense", "*": {"scheme": "binary"}}),
    "integers-multiplier": ("network", "quantization_aware", {"*": {"scheme": "fixed_point", "bits": 4}}),
    "integers-shift": ("network", "one_shot", {"*": "dense"}),
    "zcu102": ("network", "quantization_aware", {"*": {"scheme": "mixed_rows", **MIXED}}),
    "galaxy-s10-cpu": ("network", "one_shot", {"4": {"scheme": "unstructured", "sparsity": 0.5}}),
    "galaxy-s20-gpu": ("network", "one_shot", {"4": {"scheme": "unstructured", "sparsity": 0.5}}),
}
PICTURES = {  # titles that each family's report has
    "forms": {"Crossbars in use", "Energy of one sample", "Accuracy by variation of cells"},
    "isaac": {"Crossbars in use", "Energy of one sample", "Accuracy by variation of cells"},
    "aqfp": {"Crossbars in use", "Energy of one sample at 4.2 K", "Accuracy by grey zone"},
    "integers-multiplier": {"Roofline", "Energy of one sample"},
    "integers-shift": {"Roofline", "Energy of one sample"},
    "zcu102": {"Resources of the chip", "Roofline", "Energy of one sample"},
    "zcu102-binary": {"Resources of the chip", "Roofline", "Energy of one sample"},
    "galaxy-s10-cpu": {"Roofline", "Time of one sample by layer"},
    "galaxy-s20-gpu": {"Roofline", "Time of one sample by layer"},
}
SAVED = {"zcu102", "zcu102-binary", "integers-multiplier", "integers-shift", "isaac", "forms", "aqfp"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modelled")
    (folder / "parts.py").write_text(PARTS)
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """Runs that were made already, by device."""
    made = {}

    def result(device):
        if device not in made:
            made[device] = start_run(job(folder, device), folder / f"run-{device}", "the command")
        return made[device]

    return result


def job(folder, device, plan=None, **changes):
    network, method, layers = JOBS[device]
    path = folder / f"plan-{device}.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "layers": plan or layers}, sort_keys=False))
    return Recipe.parse(
        {
            "network": f"{folder}/parts.py:{network}",
            "data": f"{folder}/parts.py:loaders",
            "device": device,
            "plan": str(path),
            "method": method,
            "epochs": {"dense": 2, "method": 2, "fine_tune": 0},
            "learning_rates": {"dense": 0.05, "method": 0.02, "fine_tune": 0.02},
        }
        | changes
    )


@pytest.mark.parametrize("device", JOBS)
def test_the_whole_job_on_every_family(folder, finished, device):
    result = finished(device)
    assert json.loads((folder / f"run-{device}" / "result.json").read_text()) == json.loads(
        json.dumps(result)
    )
    assert result["device"]["kind"] == result["cost"]["kind"] == "modelled"
    assert result["held_out_samples"] == 40
    assert result["cost"]["latency_seconds"] > 0
    assert len(result["layers"]) == len(result["cost"]["by_layer"])
    assert PICTURES[device] <= {picture["title"] for picture in result["pictures"]}
    assert (folder / f"run-{device}" / "deployment").exists() == (device in SAVED | {"galaxy-s10-cpu"})
    text = (folder / f"run-{device}" / "report.html").read_text()
    assert text == page(result)
    assert "modelled" in text
    assert all(title in text for title in PICTURES[device])


@pytest.mark.parametrize("device", sorted(SAVED))
def test_accuracy_is_that_of_the_saved_deployment(folder, finished, device):
    result = finished(device)
    saved = load_saved(folder / f"run-{device}" / "deployment")
    held_out = judged(gather(job(folder, device)))
    assert evaluate(saved, held_out).top1 == result["deployment_accuracy"]


def test_noise_is_varied_on_crossbars_and_columns(finished):
    titles = {picture["title"] for device in ("forms", "aqfp") for picture in finished(device)["pictures"]}
    assert {
        "Accuracy by variation of cells",
        "Accuracy by length of the bit stream",
        "Accuracy by grey zone",
    } <= titles
    curve = next(one for one in finished("forms")["pictures"] if one["kind"] == "curve")
    assert curve["own"] in [x for x, _ in curve["points"]]


def test_a_device_that_runs_nothing_is_judged_through_pytorch(finished):
    result = finished("galaxy-s20-gpu")
    assert result["deployment_accuracy"] == result["fitted_accuracy"]
    assert "PyTorch" in result["deployed_by"]


def test_layers_in_float32_are_told():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).eval()
    device, example = load_device("zcu102"), torch.randn(1, 4)
    made = device.deploy(network, example, None, [torch.randn(8, 4)])
    assert [layer for layer, _ in made.manifest.floats] == ["1 (LayerNorm)"]
    assert stays_float(made) == [("1 (LayerNorm)", "LayerNorm has no form in whole numbers")]
    assert runs_as(device, made) == device.deployment


def test_layers_in_float32_and_costs_that_leave_layers_out_are_fields_of_the_result(finished):
    result = finished("aqfp")
    left_out = result["cost"]["left_out"]
    assert result["float32"] == left_out
    assert all(reason == "not binary: it runs elsewhere" for _, reason in left_out)
    assert [layer for layer, _ in left_out] == ["5"]
    assert [layer for layer, _ in result["cost"]["by_layer"]] == ["2"]
    assert finished("isaac")["float32"] == []


@pytest.mark.parametrize(
    ("device", "plan", "sentence"),
    [
        (
            "forms",
            {"*": {"scheme": "fixed_point"}},
            r"forms cannot run 0 under FixedPoint.*: its weights need Polarized\(8\)",
        ),
        ("forms", {"8": "dense", "*": POLARIZED}, r"8: its weights need Polarized\(8\)"),
        (
            "aqfp",
            {"*": {"scheme": "fixed_point"}},
            "aqfp cannot run 2 under FixedPoint.*: a cell holds one bit: it runs binary weights",
        ),
        (
            "integers-multiplier",
            {"4": {"scheme": "unstructured", "sparsity": 0.5}},
            "cannot run 4 under Unstructured.*computes with the zeros too; it uses fixed_point of up to 8 bits",
        ),
        (
            "integers-shift",
            {"4": {"scheme": "fixed_point"}},
            "cannot run 4 under FixedPoint.*; it uses dense layers",
        ),
        (
            "galaxy-s10-cpu",
            {"4": {"scheme": "patterns"}},
            "cannot run 4 under Patterns.*no efficiency for patterns; it has some for dense, block_column_row",
        ),
        ("galaxy-s10-cpu", {"*": "dense"}, "the plan leaves every layer dense"),
    ],
)
def test_a_plan_that_the_device_cannot_use_is_one_sentence_before_training(
    folder, tmp_path, device, plan, sentence
):
    with pytest.raises(SpokeshaveError, match=sentence) as caught:
        start_run(job(folder, device, plan), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_that_is_too_large_is_told_before_training(folder, tmp_path):
    chip = tmp_path / "small.toml"
    text = load_device_text("forms").replace("[crossbars]\nvalue = 16128", "[crossbars]\nvalue = 2")
    chip.write_text(text)
    recipe = job(folder, "forms").model_copy(update={"device": str(chip)})
    with pytest.raises(
        SpokeshaveError, match=r"takes 3 crossbars and the chip has 2: 1\.5 times as many; up to"
    ):
        start_run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def load_device_text(name):
    from importlib import resources

    return (resources.files("spokeshave.devices") / "modelled" / f"{name}.toml").read_text()


class StoppedError(Exception):
    """What the watcher raises to end a run early."""


class Watcher:
    """Ends the run at its third event."""

    def __init__(self):
        self.heard = 0

    def begin(self, title):
        self._hear()

    def advance(self, done):
        assert 0 <= done <= 1

    def epoch(self, record, last):
        self._hear()

    def finish(self, seconds):
        self._hear()

    def _hear(self):
        self.heard += 1
        if self.heard == 3:
            raise StoppedError


def test_a_resumed_run_ends_as_the_uninterrupted_one(folder, finished, tmp_path):
    with pytest.raises(StoppedError):
        start_run(job(folder, "aqfp"), tmp_path / "run", observer=Watcher())
    for _ in range(20):
        try:
            result = resume_run(tmp_path / "run", Watcher())
            break
        except StoppedError:
            continue
    assert without_timings(result) == without_timings(finished("aqfp"))
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        assert file.read_bytes() == (folder / "run-aqfp" / "checkpoints" / file.name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_ends_as_the_uninterrupted_one(folder, finished, tmp_path):
    """`kill -9` right after an epoch, and in the middle of deploying."""
    whole, run = finished("forms"), tmp_path / "run"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(job(folder, "forms").to_yaml())
    first = ("--recipe", str(recipe), "--output", str(run))
    for arguments, moment in ((first, "dense: epoch 2"), (("--resume", str(run)), "prune: done")):
        with _spokeshave("fit", *arguments) as process:
            for line in process.stderr:
                if moment in line:
                    process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert without_timings(resume_run(run)) == without_timings(whole)
    for file in (run / "checkpoints").iterdir():
        assert file.read_bytes() == (folder / "run-forms" / "checkpoints" / file.name).read_bytes()


def _spokeshave(*arguments):
    code = "import sys; from spokeshave.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments, "--threads", "1"][
        : None if "--recipe" in arguments else -2
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_binary_networks_are_trained_with_the_columns_that_read_them(folder):
    from spokeshave.fit.inputs import method_config

    inputs = gather(job(folder, "aqfp"))
    config = method_config(inputs.recipe, inputs.data, inputs.device)
    assert config.columns == load_device("aqfp").columns
    assert method_config(inputs.recipe, inputs.data, load_device("host")).columns is None


def test_deployments_are_the_same_whenever_they_are_made(folder):
    inputs = gather(job(folder, "isaac", {"*": "dense"}))
    torch.manual_seed(0)
    first = deployed(inputs, inputs.network)(inputs.example)
    torch.manual_seed(1)
    assert torch.equal(first, deployed(replace(inputs), inputs.network)(inputs.example))


def test_a_device_plans_where_the_user_does_not(folder):
    recipe = Recipe.parse(
        {
            "network": f"{folder}/parts.py:network",
            "data": f"{folder}/parts.py:loaders",
            "device": "zcu102",
            "epochs": {"dense": 1, "method": 1},
            "distillation": False,
        }
    )
    result = start_run(recipe, folder / "proposed")
    assert {row["scheme"] for row in result["layers"]} >= {"fixed_point", "mixed_rows"}
    kept = Recipe.from_yaml((folder / "proposed" / "recipe.yaml").read_text())
    assert (kept.method, kept.epochs.fine_tune) == ("quantization_aware", 0)
