"""Both trainers do the same as a loop written by hand."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, OneShot, begin
from spokeshave.methods.callbacks import add_penalty, lightning_callback, trainer_callback
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow

PLAN = Plan((Rule("layers.0", BlockColumnRow(0.75, (4, 8))),))
EPOCHS, BATCH, RATE = 3, 16, 0.1


class Classifier(nn.Module):
    """Takes and gives what transformers' Trainer wants."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, inputs, labels=None):
        scores = self.layers(inputs)
        return {"loss": F.cross_entropy(scores, labels), "logits": scores}


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 16, generator=generator)
    return [{"inputs": x, "labels": (x[:3].argmax())} for x in inputs]


def batches(samples):
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        yield torch.stack([s["inputs"] for s in part]), torch.stack([s["labels"] for s in part])


@pytest.fixture(scope="module")
def by_hand(samples):
    network = Classifier()
    session = begin(ADMM(rho=0.3), network, PLAN)
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    for _ in range(EPOCHS):
        for inputs, labels in batches(samples):
            optimizer.zero_grad()
            (network(inputs, labels)["loss"] + session.penalty()).backward()
            optimizer.step()
            session.after_step()
        session.after_epoch()
    session.finish()
    return network


def same(first, second):
    return all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_transformers_trainer(samples, by_hand, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    network = Classifier()
    callback = trainer_callback(begin(ADMM(rho=0.3), network, PLAN))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, use_cpu=True,
        save_strategy="no", report_to=[], max_grad_norm=0, disable_tqdm=True, train_sampling_strategy="sequential",
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = transformers.Trainer(
        network, arguments, train_dataset=samples, callbacks=[callback], optimizers=(optimizer, constant)
    )
    trainer.train()
    assert PLAN.rules[0].scheme.contains(network.layers[0].weight.detach())
    assert same(network, by_hand)
    with pytest.raises(SpokeshaveError, match="has been through a training"):
        trainer.train()


def test_lightning(samples, by_hand, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = Classifier()

        def training_step(self, batch, index):
            return self.network(*batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), RATE)

    module = Module()
    callback = lightning_callback(begin(ADMM(rho=0.3), module.network, PLAN))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

    def trainer():
        return lightning.Trainer(
            max_epochs=EPOCHS, accelerator="cpu", callbacks=[callback], enable_model_summary=False,
            default_root_dir=tmp_path, **quiet,
        )  # fmt: skip

    trainer().fit(module, DataLoader(list(batches(samples)), batch_size=None))
    assert same(module.network, by_hand)
    with pytest.raises(SpokeshaveError, match="has been through a training"):
        trainer().fit(module, DataLoader(list(batches(samples)), batch_size=None))


def test_a_missing_package_is_named(network, plan, monkeypatch):
    session = begin(OneShot(), network, plan)
    for name, make, extra in (
        ("transformers", trainer_callback, "models"),
        ("lightning.pytorch", lightning_callback, "lightning"),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SpokeshaveError, match=rf"pip install 'spokeshave\[{extra}\]'"):
            make(session)


def test_a_penalty_joins_the_gradients_that_are_there(network, plan):
    session = begin(ADMM(rho=0.5), network, plan)
    session.penalty().backward()
    expected = {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    add_penalty(session, network)
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (name not in expected)
        assert parameter.grad is None or torch.allclose(parameter.grad, 2 * expected[name])
    add_penalty(begin(OneShot(), network, plan), network)  # a penalty of 0 has no gradient
