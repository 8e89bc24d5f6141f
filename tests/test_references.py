"""Every way to name a network or data, and every way to get it wrong."""

import os
import sys

import pytest
import torch
from torch import nn

from spokeshave.data import Data
from spokeshave.errors import SpokeshaveError
from spokeshave.references import absolute_reference, resolve_data, resolve_network

NETWORKS = """
import torch
from torch import nn
from beside import WIDTH

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(WIDTH, 3)
    def forward(self, x):
        return self.head(x)

def small(): return Small()
ready = nn.Linear(2, 2)
def needs(width): return nn.Linear(width, 2)
def broken(): raise ValueError("no such weights")
def number(): return 7
def loaders():
    batches = [(torch.zeros(4, 5), torch.tensor([0, 2, 1, 2]))]
    return batches, batches
def lone_loader(): return [(torch.zeros(4, 5), torch.zeros(4))]
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "faulty.py").write_text("import torch\nwidth = 1 / 0\n")
    (tmp_path / "unfinished.py").write_text("def network(:\n")
    (tmp_path / "wanting.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("beside", "nets", "faulty", "unfinished", "wanting"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("reference", ["nets.py:small", "./nets.py:small", "nets:small", "nets.py:Small"])
def test_callables_are_called(nets, reference):
    assert resolve_network(reference).head.in_features == 5


def test_the_folder_does_not_stay_on_the_path(nets):
    before = list(sys.path)
    resolve_network(f"{nets}/nets.py:small")
    assert sys.path == before
    assert "nets" not in sys.modules


def test_a_finished_network_is_taken_as_it_is(nets):
    assert isinstance(resolve_network("nets.py:ready"), nn.Linear)


def test_loaders_become_data(nets):
    data = resolve_data("nets.py:loaders")
    assert isinstance(data, Data)
    assert data.classes == 3


def test_built_in_names():
    assert isinstance(resolve_network("digits"), nn.Module)
    assert resolve_data("digits").classes == 10


def test_exported_program(tmp_path):
    path = tmp_path / "small.pt2"
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),)), path)
    program = resolve_network(str(path))
    assert program.module()(torch.zeros(1, 4)).shape == (1, 2)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_hugging_face_folder(tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=4
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path / "tiny")
    network = resolve_network(str(tmp_path / "tiny")).eval()
    assert network(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 4)


def test_file_references_become_absolute(nets):
    assert absolute_reference("nets.py:small") == f"{nets}/nets.py:small"
    assert absolute_reference("nets:small") == "nets:small"


NETWORK_MISTAKES = {
    "net.py:small": "there is no file net.py; did you mean nets.py?",
    "nts:small": "no module 'nts'.*did you mean nets?",
    "nets.py:smal": "has no callable 'smal'; did you mean small?",
    "nets:needs": "calling nets:needs without arguments failed: TypeError",
    "nets.py:broken": r"ValueError: no such weights \(.*nets.py, line 16\)",
    "nets.py:number": "gives a int, not a network",
    "nets.py:loaders": "gives a tuple of 2, not a network",
    "faulty.py:network": r"cannot be imported: ZeroDivisionError: .*faulty.py, line 2",
    "unfinished:network": "cannot be imported: SyntaxError: .*line 1",
    "wanting:network": "cannot be imported: ModuleNotFoundError: No module named 'not_installed_anywhere'",
    "digit": "no network 'digit'; did you mean digits?",
    "gone.pt2": "there is no file gone.pt2",
    "damaged.pt2": "damaged.pt2 is damaged or no exported program",
    "folder.pt2": "folder.pt2 is a folder",
    "folder.pt2/": "folder.pt2/ is no Hugging Face folder: it holds no config.json",
}


@pytest.mark.parametrize(("reference", "sentence"), NETWORK_MISTAKES.items())
def test_network_mistakes(nets, reference, sentence):
    (nets / "damaged.pt2").write_bytes(b"PK\x03\x04 not whole")
    (nets / "folder.pt2").mkdir()
    with pytest.raises(SpokeshaveError, match=sentence):
        resolve_network(reference)


DATA_MISTAKES = {
    "digit": "no data 'digit'; did you mean digits?",
    "nets.py:small": "gives a Small, not spokeshave.Data or a pair",
    "nets.py:lone_loader": "gives a list of 1, not spokeshave.Data or a pair",
    "nets.py:loadr": "has no callable 'loadr'",
}


@pytest.mark.parametrize(("reference", "sentence"), DATA_MISTAKES.items())
def test_data_mistakes(nets, reference, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        resolve_data(reference)


def test_hub_id_without_a_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        SpokeshaveError, match=r"no folder nobody/nothing here, and .*'nobody/nothing' cannot be loaded: .+"
    ):
        resolve_network("nobody/nothing")
