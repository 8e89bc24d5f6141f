"""Every verb does its work, for people and for machines."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spokeshave.compiler import isa, load_deployment

SHAPE = ("--shape", "1x8x8")


def test_compile_writes_plain_c(folder, spokeshave):
    code, out, err = spokeshave(
        "compile",
        "parts.py:network",
        *SHAPE,
        "--output",
        "plain",
        "--emit-c",
        "--c-name",
        "digits",
        "--isa",
        "avx2",
    )
    assert code == 0, err
    assert out.startswith("plain: plain C for avx2")
    assert (folder / "plain/digits.h").exists()
    assert (folder / "plain/weights.bin").exists()


def test_another_kind_of_cpu_gets_plain_c_with_its_weights_inside(folder, spokeshave):
    command = (
        "compile",
        "parts.py:network",
        *SHAPE,
        "--output",
        "phone",
        "--isa",
        "neon",
        "--embed-weights",
        "--json",
    )
    code, out, err = spokeshave(*command)
    assert code == 0, err
    document = json.loads(out)
    assert document == {"source": "phone", "isa": "neon", "flags": ["-march=armv8-a"]} | {
        "weight_bytes": document["weight_bytes"]
    }
    assert (folder / "phone/weights.h").exists()
    assert not (folder / "phone/weights.bin").exists()


def test_plain_c_is_checked_against_pytorch(folder, spokeshave):
    command = ("compile", "parts.py:network", *SHAPE, "--output", "plain", "--check")
    code, out, err = spokeshave(*command)
    assert code == 0, err
    assert re.search(r"run by this CPU: \S+e-0[6-9] from PyTorch's results", out), out
    assert " a sample, measured, one thread" in out


def test_features_that_this_cpu_lacks_are_built_for_but_not_run(folder, spokeshave, monkeypatch):
    monkeypatch.setattr(isa, "cpu_features", lambda: frozenset(isa.instruction_sets()["avx2"].features))
    code, out, err = spokeshave("compile", "parts.py:network", *SHAPE, "--output", "other", "--isa", "avx512")
    assert code == 0, err
    assert "not run: this CPU lacks avx512f" in out
    np.save(folder / "images.npy", np.zeros((1, 1, 8, 8), np.float32))
    code, _, err = spokeshave("run", "other", "images.npy", "--output", "scores.npy")
    assert code == 2
    assert err.startswith("error: other was built for avx512: this CPU lacks avx512f")


def test_run_gives_what_the_deployment_gives(deployed, folder, spokeshave):
    images = torch.randn(5, 1, 8, 8)
    np.save(folder / "images.npy", images.numpy())
    code, out, err = spokeshave("run", deployed, "images.npy", "--output", "scores.npy", "--json")
    assert code == 0, err
    assert json.loads(out) == {"output": "scores.npy", "shapes": {"output": [5, 3]}}
    scores = torch.from_numpy(np.load(folder / "scores.npy"))
    assert torch.equal(scores, load_deployment(deployed)(images))
    save_file({"images": images}, folder / "images.safetensors")
    assert spokeshave("run", deployed, "images.safetensors", "--output", "scores.safetensors")[0] == 0
    assert torch.equal(load_file(folder / "scores.safetensors")["output"], scores)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), r"has shape \(2, 3, 8, 8\)"),
        (np.zeros((2, 1, 8, 8), np.float64), "is torch.float64"),
        (np.array([object()]), "x.npy cannot be read"),
    ],
)
def test_wrong_inputs_are_one_sentence(deployed, folder, spokeshave, array, sentence):
    np.save(folder / "x.npy", array, allow_pickle=True)
    code, out, err = spokeshave("run", deployed, "x.npy", "--output", "y.npy")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(sentence, err)
    assert not (folder / "y.npy").exists()


def test_evaluate(deployed, spokeshave):
    code, out, _ = spokeshave("evaluate", deployed, "--data", "parts.py:data", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["total"] == 6
    assert document["accuracy"] == document["correct"] / 6


def test_compile_says_what_runs_through_pytorch(folder, spokeshave):
    (folder / "cube.py").write_text(
        "from torch import nn\nclass Cube(nn.Module):\n    def forward(self, x): return x.sort(1)[0]\n"
    )
    code, out, err = spokeshave("compile", "cube.py:Cube", "--shape", "8", "--output", "cube", "--json")
    assert code == 0, err
    assert "sort" in json.loads(out)["run_by_pytorch"][0]["operator"]


def test_lengths_may_change(folder, spokeshave):
    command = ("compile", "parts.py:linear", "--shape", "5x8", "--dynamic", "rows=input:1")
    code, _, err = spokeshave(*command, "--output", "lengths")
    assert code == 0, err
    assert load_deployment(folder / "lengths")(torch.zeros(2, 3, 8)).shape == (2, 3, 3)
    code, _, err = spokeshave(*command, "--output", "plain", "--check")
    assert code == 0, err
    assert "MODEL_LENGTHS = 1" in (folder / "plain/model.h").read_text()


def test_bench(folder, spokeshave):
    arguments = ("bench", "parts.py:network", *SHAPE, "--peer", "eager", "--rounds", "3")
    code, out, err = spokeshave(*arguments, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {row["name"] for row in document["table"]} == {"spokeshave", "PyTorch eager"}
    code, out, _ = spokeshave(*arguments)
    assert code == 0
    assert "PyTorch eager" in out
    assert "measured" in out


@pytest.mark.parametrize("device", ["host", "galaxy-s10-cpu"])
def test_profile(folder, spokeshave, device):
    arguments = ("profile", "parts.py:network", *SHAPE, "--device", device)
    code, out, err = spokeshave(*arguments, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert len(document["rows"]) >= 4
    assert document["kind"] == ("measured" if device == "host" else "modelled")
    code, out, _ = spokeshave(*arguments)
    assert code == 0
    assert document["kind"] in out


def test_schemes_and_devices(spokeshave):
    assert {entry["scheme"] for entry in json.loads(spokeshave("schemes", "--json")[1])} >= {
        "unstructured",
        "block_column_row",
    }
    names = [entry["name"] for entry in json.loads(spokeshave("devices", "list", "--json")[1])]
    assert "host" in names
    for name in names:
        code, out, _ = spokeshave("devices", "show", name)
        assert code == 0
        assert out.strip()


def test_fit_and_report(folder, spokeshave):
    (folder / "recipe.yaml").write_text("epochs: {method: 1, fine_tune: 1}\nrounds: 3\npeers: [eager]\n")
    code, out, err = spokeshave(
        "fit", "parts.py:network", "--data", "parts.py:data", "--compression", "4", "--recipe", "recipe.yaml",
        "--output", "runs/mine", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert "epoch 1 of 1" in err
    assert json.loads(out) == json.loads((folder / "runs/mine/result.json").read_text())
    code, out, _ = spokeshave("report", "runs/mine", "--svg", "chart.svg", "--html", "page.html")
    assert code == 0
    assert "PyTorch eager" in out
    assert (folder / "chart.svg").read_text().startswith("<svg")
    assert (folder / "page.html").read_text() == (folder / "runs/mine/report.html").read_text()
    assert spokeshave("fit", "--resume", "runs/mine")[0] == 0


def test_compile_in_integers_says_what_stays_float32(folder, spokeshave):
    command = ("compile", "parts.py:network", *SHAPE, "--precision", "int8", "--calibration", "digits")
    code, out, err = spokeshave(*command, "--output", "int8", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["precision"] == "int8"
    assert document["kept_float32"] == {}


def test_a_network_that_was_compiled_before_comes_from_the_cache(folder, spokeshave, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    made = "import torch, parts\ndef network():\n    torch.manual_seed(3)\n    return parts.network()\n"
    (folder / "seeded.py").write_text(made)
    monkeypatch.syspath_prepend(folder)
    command = ("compile", "seeded.py:network", *SHAPE, "--precision", "int8", "--calibration", "digits")
    for name in ("first", "second"):
        assert spokeshave(*command, "--output", name)[0] == 0
    (entry,) = (folder / "cache/spokeshave/networks").iterdir()
    assert (folder / "second/manifest.json").read_bytes() == (entry / "manifest.json").read_bytes()
    assert spokeshave(*command, "--isa", "avx2", "--output", "lesser")[0] == 0
    assert len(list(entry.parent.iterdir())) == 2


def test_compile_in_bfloat16_and_evaluate(folder, spokeshave):
    command = ("compile", "parts.py:network", *SHAPE, "--precision", "bfloat16", "--output", "half", "--json")
    code, out, err = spokeshave(*command)
    assert code == 0, err
    assert json.loads(out)["precision"] == "bfloat16"
    layers = load_deployment(folder / "half").manifest.layers
    assert {layer.precision for layer in layers} == {"bfloat16"}
    code, out, err = spokeshave("evaluate", "half", "--data", "parts.py:data")
    assert code == 0, err


def test_devices_are_compared(folder, spokeshave):
    code, out, err = spokeshave("devices", "compare", "parts.py:network", "--shape", "1x8x8", "--json")
    assert code == 0, err
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert entries["zcu102"]["latency_seconds"] > 0
    assert entries["raspberry-pi-4"]["latency_seconds"] > entries["raspberry-pi-5"]["latency_seconds"]
    assert "its weights need Polarized(8)" in entries["forms"]["reason"]
    chosen = ("--device", "galaxy-s10-gpu", "--device", "aqfp")
    chart = ("--svg", "costs.svg")
    code, out, err = spokeshave("devices", "compare", "parts.py:network", "--shape", "1x8x8", *chosen, *chart)
    assert code == 0, err
    assert "galaxy-s10-gpu: " in (folder / "costs.svg").read_text()
    assert "modelled" in out
    assert "aqfp runs binary layers alone" in out
    assert "isaac" not in out
