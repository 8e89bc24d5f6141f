"""Every mistake a user can make: exit code 2, one line that says what is wrong, nothing written."""

import re

import pytest
from tests.cli.conftest import PARTS

BRANCH = PARTS[: PARTS.index("if x.sum()")].count("\n") + 1  # the line that cannot be exported
FIT = ["fit", "parts.py:network", "--data", "parts.py:data", "--output", "run"]
COMPRESS = [*FIT, "--compression", "4"]


def fit(network="parts.py:network", data="parts.py:data", *more):
    return ["fit", network, "--data", data, "--compression", "4", "--output", "run", *more]


PLANS = {
    "no_layer.yaml": 'version: 1\nlayers:\n  "stage.*": {scheme: unstructured, sparsity: 0.5}\n',
    "no_scheme.yaml": 'version: 1\nlayers:\n  "2": {scheme: diagonal, sparsity: 0.5}\n',
    "sparsity.yaml": 'version: 1\nlayers:\n  "2": {scheme: unstructured, sparsity: 1.0}\n',
    "block.yaml": 'version: 1\nlayers:\n  "2": {scheme: block_column_row, sparsity: 0.5, block: [32, 64]}\n',
    "all_dense.yaml": 'version: 1\nlayers:\n  "2": dense\n',
}

COMPILE = ("compile", "parts.py:network", "--shape", "1x8x8", "--output", "out")
MISTAKES = {
    "no axis": ((*COMPILE, "--dynamic", "input"), "'input' is not an input and its axis, such as ids:1"),
    "one length twice": ((*COMPILE, "--dynamic", "a:1", "--dynamic", "b:1"), "name every length once"),
    "no such input": ((*COMPILE, "--dynamic", "words:1"), "there is no input 'words'"),
    "no file": (fit("part.py:network"), "there is no file .*part.py; did you mean parts.py?"),
    "no callable": (fit("parts.py:netwrk"), "has no callable 'netwrk'; did you mean network?"),
    "no module": (fit("partes:network"), "there is no module 'partes'.*did you mean parts?"),
    "no network": (fit("digts"), "there is no network 'digts'; did you mean digits?"),
    "no data": (fit(data="digts"), "there is no data 'digts'; did you mean digits?"),
    "other class count": (fit(data="parts.py:two_classes"), "tells 3 classes apart, but .* has 2"),
    "more classes": (fit(data="parts.py:four_classes"), "tells 3 classes apart, but .* has 4"),
    "other shape": (fit(data="parts.py:large_images"), r"cannot take samples of shape \(3, 16, 16\)"),
    "no samples": (fit(data="parts.py:empty"), "held-out loader of .* is empty"),
    "no labels": (fit(data="parts.py:pictures_alone"), r"does not give \(inputs, labels\) batches"),
    "labels": (fit(data="parts.py:strange_labels"), "has label -1; labels must be 0 to 2"),
    "real labels": (
        fit(data="parts.py:real_labels"),
        "has labels of type torch.float32; labels must be integers",
    ),
    "no export": (fit("parts.py:Branching"), f"the network cannot be exported: .*parts.py:{BRANCH}"),
    "no device": (
        fit("parts.py:network", "parts.py:data", "--device", "abacus"),
        "there is no device 'abacus'",
    ),
    "device that cannot use the plan": (
        fit("parts.py:network", "parts.py:data", "--device", "aqfp"),
        "aqfp cannot run",
    ),
    "no method": (
        fit("parts.py:network", "parts.py:data", "--method", "magic"),
        "method: input should be 'admm', ",
    ),
    "epochs": (
        fit("parts.py:network", "parts.py:data", "--epochs-dense", "-1"),
        r"epochs.dense: .* \(got -1\)",
    ),
    "compression": ([*FIT, "--compression", "0.5"], "compression: input should be greater than 1"),
    "no plan": (
        FIT,
        "exactly one of plan and compression must be given, for host proposes no plan of its own",
    ),
    "no plan for a phone": ([*FIT, "--device", "galaxy-s10"], "galaxy-s10-cpu proposes no plan of its own"),
    "two plans": ([*COMPRESS, "--plan", "block.yaml", "--recipe", "no.yaml"], "there is no recipe no.yaml"),
    "plan not there": (
        [*FIT, "--plan", "gone.yaml"],
        "there is no plan 'gone.yaml'; name a YAML file or one of",
    ),
    "plan names no layer": ([*FIT, "--plan", "no_layer.yaml"], r"'stage.\*' names no layer"),
    "plan names no scheme": (
        [*FIT, "--plan", "no_scheme.yaml"],
        "no_scheme.yaml, line 3.*no scheme 'diagonal'",
    ),
    "sparsity": ([*FIT, "--plan", "sparsity.yaml"], r"sparsity.yaml, line 3.*sparsity must .*not 1.0"),
    "block": ([*FIT, "--plan", "block.yaml"], "'2' does not suit '2.weight'.*32.*64"),
    "plan without schemes": ([*FIT, "--plan", "all_dense.yaml"], "the plan leaves every layer dense"),
    "no network named": (["fit", "--output", "run", "--compression", "4"], "name the network to fit"),
    "no output named": (["fit", "parts.py:network", "--data", "parts.py:data"], "name the run folder"),
    "output taken": ([*COMPRESS[:5], "taken", *COMPRESS[6:]], "taken holds something else than a run"),
    "output is a file": ([*COMPRESS[:5], "parts.py", *COMPRESS[6:]], "parts.py is a file"),
    "resume nothing": (["fit", "--resume", "nowhere"], "there is no run in nowhere"),
    "resume otherwise": (
        ["fit", "--resume", "nowhere", "--seed", "1"],
        "--resume goes on with the run's own recipe",
    ),
    "no option": (["fit", "--colour"], "No such option: --colour"),
    "no verb": (["shave"], "No such command 'shave'"),
    "no recipe": (["demo", "digts"], "there is no recipe 'digts'"),
    "report of nothing": (["report", "nowhere"], "there is no run in nowhere"),
    "no calibration": (
        ["compile", "parts.py:network", "--shape", "1x8x8", "--output", "out", "--precision", "int8"],
        "int8 needs calibration data",
    ),
    "calibration for nothing": (
        [*COMPILE, "--calibration", "parts.py:data"],
        "is for int8; add --precision int8",
    ),
    "threads for nothing": (
        [*COMPILE, "--threads", "2"],
        "--threads 2 is the number to tune for; add --tune",
    ),
    "name of no C": ([*COMPILE, "--c-name", "keys"], "--c-name keys names plain C; add --emit-c"),
    "shape and data": (
        ["profile", "parts.py:network", "--shape", "1x8x8", "--data", "parts.py:data"],
        "--shape and --data both say",
    ),
    "nothing before the colon": (["profile", ":network"], "lacks what stands before or after the colon"),
    "nothing behind the colon": (["profile", "parts:"], "lacks what stands before or after the colon"),
    "no shape": (["compile", "parts.py:network", "--output", "out"], "--shape 3x224x224"),
    "bad shape": (["compile", "parts.py:network", "--shape", "8by8", "--output", "out"], "8by8 is no shape"),
    "commas for crosses": (
        ["compile", "parts.py:network", "--shape", "1,8,8", "--output", "out"],
        r"takes \(input\), but the example is 3 inputs of shape \(1, 1\), \(1, 8\), \(1, 8\)",
    ),
    "no element type": (
        ["compile", "parts.py:network", "--shape", "8:int63", "--output", "out"],
        "'int63' is no element type; float32, int64",
    ),
    "other element type": (
        ["compile", "parts.py:linear", "--shape", "8:int64", "--output", "out"],
        "parts.py:linear cannot take inputs of type int64: ",
    ),
    "compile over": (
        ["compile", "parts.py:network", "--shape", "1x8x8", "--output", "taken"],
        "holds something else",
    ),
    "no isa": (
        ["compile", "parts.py:network", "--shape", "1x8x8", "--output", "out", "--isa", "z80"],
        "'z80'",
    ),
    "no deployment": (["run", "taken", "in.npy", "--output", "out.npy"], "taken is not a deployment"),
    "evaluate nothing": (["evaluate", "taken", "--data", "parts.py:data"], "taken is not a deployment"),
    "no peer": (
        ["bench", "parts.py:network", "--shape", "1x8x8", "--peer", "abacus"],
        "there is no peer 'abacus'",
    ),
    "no such device": (["devices", "show", "abacus"], "there is no device 'abacus'"),
}


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_one_sentence_and_nothing_written(folder, spokeshave, arguments, sentence):
    for name, text in PLANS.items():
        (folder / name).write_text(text)
    (folder / "taken").mkdir()
    (folder / "taken" / "thesis.txt").write_text("mine")
    before = contents(folder)
    code, out, err = spokeshave(*arguments)
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1
    assert re.search(f"^error: .*{sentence}", err), err
    assert contents(folder) == before


def cut_library(folder):
    """A shorter file in the library's place: `compile` has timed the whole one, which is still loaded here."""
    library = folder / "model.so"
    data = library.read_bytes()
    library.unlink()
    library.write_bytes(data[:-100])


DAMAGES = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "truncated library": cut_library,
    "other weights": lambda folder: (folder / "weights.safetensors").write_bytes(b"x" * 100),
    "no source": lambda folder: (folder / "model.c").unlink(),
    "broken manifest": lambda folder: (folder / "manifest.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_deployment_is_never_loaded(deployed, spokeshave, damage):
    damage(deployed)
    code, out, err = spokeshave("evaluate", deployed, "--data", "parts.py:data")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "damaged" in err or "not a deployment" in err


def contents(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
