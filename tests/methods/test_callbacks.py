"""Both trainers do the same as a loop written by hand."""

import copy
import inspect
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, Distillation, FeatureDistillation, OneShot, Together, begin
from spokeshave.methods.callbacks import add_penalty, lightning_callback, trainer_callback
from spokeshave.methods.wrong_labels import tell_wrong_labels
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.unstructured import Unstructured

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


def trained_by_hand(network, session, samples, parts=1):
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    for _ in range(EPOCHS):
        for inputs, labels in batches(samples):
            optimizer.zero_grad()
            for some, their in zip(inputs.chunk(parts), labels.chunk(parts), strict=True):
                ((network(some, their)["loss"] + session.penalty()) / parts).backward()
            optimizer.step()
            session.after_step()
        session.after_epoch()
    session.finish()
    return network


@pytest.fixture(scope="module")
def by_hand(samples):
    network = Classifier()
    return trained_by_hand(network, begin(ADMM(rho=0.3), network, PLAN), samples)


def teacher():
    network = Classifier()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3)
    return network


def by_hand_in_parts(samples, parts):
    network = Classifier()
    return trained_by_hand(network, distilled(network, teacher()), samples, parts)


@pytest.fixture(scope="module")
def distilled_by_hand(samples):
    return by_hand_in_parts(samples, 1)


def same(first, second):
    return all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


class Constant(torch.optim.lr_scheduler.LambdaLR):
    """The rate as it is."""

    def __init__(self, optimizer):
        super().__init__(optimizer, lambda step: 1.0)


def fit_by_trainer(network, session, samples, folder, *more, resume=None, **settings):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    choices = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "save_strategy": "no",
    } | settings
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], max_grad_norm=0, disable_tqdm=True,
        train_sampling_strategy="sequential", **choices,
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    trainer = transformers.Trainer(
        network, arguments, train_dataset=samples,
        callbacks=[trainer_callback(each) for each in (session, *more)],
        optimizers=(optimizer, Constant(optimizer)),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)


def distilled(network, teacher):
    """A session whose penalty is of weights and of the forward pass."""
    parts = (ADMM(rho=0.3), Distillation(teacher, 0.5), FeatureDistillation(teacher, ("layers.0",), 0.1))
    return Together(tuple(begin(part, network, PLAN) for part in parts))


def test_transformers_trainer(samples, by_hand, tmp_path):
    network = Classifier()
    session = begin(ADMM(rho=0.3), network, PLAN)
    fit_by_trainer(network, session, samples, tmp_path)
    assert PLAN.rules[0].scheme.contains(network.layers[0].weight.detach())
    assert same(network, by_hand)
    with pytest.raises(SpokeshaveError, match="has been through a training"):
        fit_by_trainer(network, session, samples, tmp_path)


def test_the_trainer_of_another_network_is_refused(samples, tmp_path):
    session = begin(ADMM(), Classifier(), PLAN)
    with pytest.raises(SpokeshaveError, match="begun with another network"):
        fit_by_trainer(Classifier(), session, samples, tmp_path)
    fit_by_trainer(session.network, session, samples, tmp_path, num_train_epochs=1)


@pytest.mark.parametrize("gathered", [1, 2])
def test_a_penalty_of_the_forward_pass_joins_the_trainers_loss(
    gathered, samples, distilled_by_hand, tmp_path
):
    network = Classifier()
    session = distilled(network, teacher())
    sizes = {"per_device_train_batch_size": BATCH // gathered, "gradient_accumulation_steps": gathered}
    fit_by_trainer(network, session, samples, tmp_path, **sizes)
    assert same(network, distilled_by_hand if gathered == 1 else by_hand_in_parts(samples, gathered))


def test_a_training_that_goes_on_from_a_checkpoint(samples, by_hand, tmp_path):
    first, second = Classifier(), Classifier()
    fit_by_trainer(
        first, begin(ADMM(rho=0.3), first, PLAN), samples, tmp_path, num_train_epochs=2, save_strategy="epoch"
    )
    checkpoint = tmp_path / f"checkpoint-{2 * len(samples) // BATCH}"
    fit_by_trainer(second, begin(ADMM(rho=0.3), second, PLAN), samples, tmp_path, resume=str(checkpoint))
    assert same(second, by_hand)
    fourth = Classifier()
    moved = checkpoint.rename(tmp_path / "elsewhere")
    settings = {"resume": str(moved), "resume_from_checkpoint": str(moved)}
    fit_by_trainer(fourth, begin(ADMM(rho=0.3), fourth, PLAN), samples, tmp_path / "new", **settings)
    assert same(fourth, by_hand)
    moved.rename(checkpoint)
    (state,) = checkpoint.glob("spokeshave_ADMM*")
    state.write_bytes(state.read_bytes()[:100])
    third = Classifier()
    with pytest.raises(SpokeshaveError, match=r"the session's state .* is damaged"):
        fit_by_trainer(third, begin(ADMM(rho=0.3), third, PLAN), samples, tmp_path, resume=str(checkpoint))
    state.unlink()
    third = Classifier()
    with pytest.raises(SpokeshaveError, match="the session's state is not at"):
        fit_by_trainer(third, begin(ADMM(rho=0.3), third, PLAN), samples, tmp_path, resume=str(checkpoint))


def two_of_one_method(network):
    return tuple(
        begin(ADMM(rho=rho), network, Plan((Rule(f"layers.{layer}", Unstructured(0.5)),)))
        for layer, rho in ((0, 0.3), (2, 0.2))
    )


def test_two_sessions_of_one_method_go_on_from_a_checkpoint(samples, tmp_path):
    networks = whole, first, second = Classifier(), Classifier(), Classifier()
    sessions = [two_of_one_method(network) for network in networks]
    fit_by_trainer(whole, sessions[0][0], samples, tmp_path / "whole", sessions[0][1])
    settings = {"num_train_epochs": 2, "save_strategy": "epoch"}
    fit_by_trainer(first, sessions[1][0], samples, tmp_path, sessions[1][1], **settings)
    checkpoint = tmp_path / f"checkpoint-{2 * len(samples) // BATCH}"
    assert len(list(checkpoint.glob("spokeshave_ADMM*"))) == 2
    fit_by_trainer(second, sessions[2][0], samples, tmp_path, sessions[2][1], resume=str(checkpoint))
    assert same(second, whole)


def twice_on_the_same_weights(network):
    return tuple(begin(ADMM(rho=rho), network, PLAN) for rho in (0.3, 0.2))


def test_two_sessions_that_would_share_a_state_are_refused_and_together_go_on(samples, tmp_path):
    whole, first, second = Classifier(), Classifier(), Classifier()
    sessions = twice_on_the_same_weights(first)
    with pytest.raises(SpokeshaveError, match="two sessions of ADMM on the same weights would share"):
        fit_by_trainer(first, sessions[0], samples, tmp_path, sessions[1])
    first = Classifier()
    together = [Together(twice_on_the_same_weights(network)) for network in (whole, first, second)]
    fit_by_trainer(whole, together[0], samples, tmp_path)
    settings = {"num_train_epochs": 2, "save_strategy": "epoch"}
    fit_by_trainer(first, together[1], samples, tmp_path, **settings)
    checkpoint = tmp_path / f"checkpoint-{2 * len(samples) // BATCH}"
    fit_by_trainer(second, together[2], samples, tmp_path, resume=str(checkpoint))
    assert same(second, whole)


def test_two_teachers_without_a_state_are_two_sessions(samples, tmp_path):
    network = Classifier()
    sessions = [begin(Distillation(teacher(), share), network, PLAN) for share in (0.5, 0.2)]
    fit_by_trainer(network, sessions[0], samples, tmp_path, sessions[1], num_train_epochs=1)


def test_a_label_out_of_range_is_told_and_the_network_is_left_as_it_was(samples, tmp_path):
    network = Classifier()
    wrong = [*samples[:-1], samples[-1] | {"labels": torch.tensor(3)}]
    with pytest.raises(SpokeshaveError, match="label 3 is out of range: there are scores for 3 classes"):
        fit_by_trainer(network, begin(ADMM(), network, PLAN), wrong, tmp_path)
    assert "forward" not in vars(network)
    fit_by_trainer(network, begin(ADMM(), network, PLAN), samples, tmp_path, num_train_epochs=1)
    assert "forward" not in vars(network)


def test_a_copy_of_a_network_that_tells_computes_with_its_own_weights():
    network, inputs, labels = Classifier(), torch.ones(2, 16), torch.zeros(2, dtype=torch.long)
    signature = inspect.signature(network.forward)
    as_before = tell_wrong_labels(network)
    assert inspect.signature(network.forward) == signature
    other = copy.deepcopy(network)
    nn.init.zeros_(other.layers[2].weight)
    nn.init.zeros_(other.layers[2].bias)
    assert not other(inputs, labels)["logits"].any()
    assert network(inputs, labels=labels)["logits"].any()
    as_before()
    assert "forward" not in vars(network)


@pytest.mark.parametrize(
    ("scores", "label", "reason"),
    [((2, 5, 7), 7, "label 7 .* 7 classes"), ((2, 7, 5), 7, "label 7 .* 7 classes"), ((2, 5), 1, None)],
    ids=["tokens", "maps", "another mistake"],
)
def test_wrong_labels_are_told_by_the_scores_of_right_ones(scores, label, reason):
    class Network(nn.Module):
        def forward(self, inputs, labels):
            if label == 1 or (labels == label).any():
                raise IndexError("Target is out of bounds.")
            return {"loss": inputs.sum(), "logits": torch.zeros(scores)}

    network, labels = Network(), torch.full((2, 5) if len(scores) == 3 else (2,), 0)
    tell_wrong_labels(network)
    labels.view(-1)[3 % labels.numel()] = label
    with pytest.raises(SpokeshaveError if reason else IndexError, match=reason or "Target is"):
        network(torch.zeros(2), labels=labels)


@pytest.fixture
def fit_by_lightning(samples, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def training_step(self, batch, index):
            return self.network(*batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), RATE)

    def fit(network, *sessions, epochs=EPOCHS, checkpoint=None, times=1, limit=None):
        callbacks = [lightning_callback(session) for session in sessions] * times
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", callbacks=callbacks, logger=False,
            enable_model_summary=False, enable_checkpointing=False, enable_progress_bar=False,
            default_root_dir=tmp_path, limit_train_batches=limit,
        )  # fmt: skip
        loader = DataLoader(list(batches(samples)), batch_size=None)
        trainer.fit(Module(network), loader, ckpt_path=checkpoint, weights_only=True)
        return trainer

    return fit


def test_lightning(fit_by_lightning, by_hand):
    network = Classifier()
    session = begin(ADMM(rho=0.3), network, PLAN)
    fit_by_lightning(network, session)
    assert same(network, by_hand)
    with pytest.raises(SpokeshaveError, match="has been through a training"):
        fit_by_lightning(network, session)
    with pytest.raises(SpokeshaveError, match="the trainer has its callback twice"):
        fit_by_lightning(network, begin(ADMM(), network, PLAN), times=2)


def test_a_fit_of_another_network_is_refused(fit_by_lightning):
    session = begin(ADMM(), Classifier(), PLAN)
    with pytest.raises(SpokeshaveError, match="begun with another network"):
        fit_by_lightning(Classifier(), session)
    fit_by_lightning(session.network, session, epochs=1)


@pytest.mark.parametrize("nothing", [{"limit": 0}, {"epochs": 0}])
def test_a_fit_of_nothing_is_told_by_lightning(fit_by_lightning, nothing):
    network = Classifier()
    with pytest.raises(SpokeshaveError, match="ended without one batch of training, so its session is not"):
        fit_by_lightning(network, begin(ADMM(), network, PLAN), **nothing)


def test_lightning_tells_labels_that_are_none_of_the_classes(fit_by_lightning):
    network = Classifier()
    session = begin(ADMM(), network, PLAN)
    network.register_forward_pre_hook(lambda module, batch: (batch[0], batch[1] + 99))
    with pytest.raises(SpokeshaveError, match=r"label [0-9]+ is out of range"):
        fit_by_lightning(network, session)


def test_two_sessions_that_would_share_a_state_are_refused_by_lightning(fit_by_lightning):
    network = Classifier()
    with pytest.raises(SpokeshaveError, match="two sessions of ADMM on the same weights would share"):
        fit_by_lightning(network, *twice_on_the_same_weights(network))


def test_two_sessions_in_lightning_go_on_from_one_checkpoint(fit_by_lightning, tmp_path):
    def sessions(network):
        return begin(ADMM(rho=0.3), network, PLAN), begin(Distillation(teacher(), 0.5), network, PLAN)

    first = Classifier()
    fit_by_lightning(first, *sessions(first), epochs=2).save_checkpoint(tmp_path / "two.ckpt")
    goes_on = Classifier()
    both = sessions(goes_on)
    fit_by_lightning(goes_on, *both, checkpoint=tmp_path / "two.ckpt")
    assert int(both[0].state()["clock"][0]) == EPOCHS
    other = begin(FeatureDistillation(teacher(), ("layers.0",)), goes_on, PLAN)
    with pytest.raises(SpokeshaveError, match="holds no state of FeatureDistillation"):
        fit_by_lightning(goes_on, other, checkpoint=tmp_path / "two.ckpt")


def test_a_penalty_of_the_forward_pass_joins_lightnings_loss(fit_by_lightning, distilled_by_hand):
    network = Classifier()
    fit_by_lightning(network, distilled(network, teacher()))
    assert same(network, distilled_by_hand)


@pytest.mark.parametrize("callback", [trainer_callback, lightning_callback])
def test_a_method_that_was_not_begun_is_no_session(callback):
    pytest.importorskip("lightning")
    with pytest.raises(SpokeshaveError, match=r"takes a session, which begin\(.*\) gives, not ADMM\("):
        callback(ADMM())


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
