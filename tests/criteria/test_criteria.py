"""Saliencies against their definitions, and against what removing weights does to a loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.pytorch_utils import Conv1D

from spokeshave.criteria import (
    BlockFisher,
    Fisher,
    InputNorm,
    InputSquares,
    Magnitude,
    Movement,
    Random,
    Taylor,
    saliencies,
    squared_outputs,
)
from spokeshave.criteria.registry import CRITERIA, criterion_of
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.unstructured import Unstructured

NAMES = ("0.weight", "3.weight")


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3, stride=2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5 * 9, 4))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 2, 8, 8, generator=generator), torch.randint(4, (6,), generator=generator))
        for _ in range(3)
    ]


def gradients(network, batch, name, loss=F.cross_entropy):
    network.eval()
    inputs, labels = batch
    return torch.autograd.grad(loss(network(inputs), labels), network.get_parameter(name))[0]


NEEDED = {"block_fisher": {"block": [2, 5]}}
EVERY = [criterion_of({"name": name} | NEEDED.get(name, {})) for name in CRITERIA]


@pytest.mark.parametrize("criterion", EVERY)
def test_every_criterion_has_the_shape_of_the_weight_and_changes_nothing(criterion, network, batches):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = saliencies(criterion, network, NAMES, iter(batches))
    for name in NAMES:
        assert found[name].shape == network.get_parameter(name).shape
        assert float(found[name].min()) >= 0
        assert not found[name].requires_grad
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_magnitude_is_the_default_of_every_projection() -> None:
    layer = nn.Linear(30, 12)
    saliency = saliencies(Magnitude(), layer, ["weight"])["weight"]
    for scheme in (Unstructured(0.7), BlockColumnRow(0.7, (4, 8), 0.25)):
        assert torch.equal(scheme.project(layer.weight, saliency), scheme.project(layer.weight))


def test_random_masks_repeat_for_a_seed_and_take_no_side(network):
    first, again, other = (saliencies(Random(seed), network, NAMES) for seed in (0, 0, 1))
    for name in NAMES:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        assert float(first[name].mean()) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("loss", [F.cross_entropy, squared_outputs])
def test_taylor_is_the_squared_first_order_change(network, batches, loss):
    for name in NAMES:
        weight = network.get_parameter(name).detach()
        mean = sum(gradients(network, batch, name, loss) for batch in batches[:2]) / 2
        found = saliencies(Taylor(passes=2, loss=loss), network, NAMES, batches)[name]
        assert torch.allclose(found, (weight * mean).square(), rtol=1e-4, atol=1e-12)


def test_taylor_in_training_mode_normalises_by_the_batch(network, batches):
    evaluated = saliencies(Taylor(passes=1), network, NAMES, batches)["0.weight"]
    trained = saliencies(Taylor(passes=1, training=True), network, NAMES, batches)["0.weight"]
    network.train()
    loss = F.cross_entropy(network(batches[0][0]), batches[0][1])
    gradient = torch.autograd.grad(loss, network[0].weight)[0]
    assert torch.allclose(trained, (network[0].weight * gradient).detach().square(), rtol=1e-4, atol=1e-12)
    assert not torch.allclose(trained, evaluated, rtol=0.1)


def test_fisher_is_the_diagonal(network, batches):
    weight = network[3].weight.detach()
    squares = sum(gradients(network, batch, "3.weight").square() for batch in batches) / 3
    found = saliencies(Fisher(), network, NAMES, batches)["3.weight"]
    assert torch.allclose(found, weight.square() * squares / 2, rtol=1e-4, atol=1e-12)


def test_block_fisher_sums_to_the_quadratic_form_of_each_block(network, batches):
    rows, columns = 2, 5  # 54 columns and 5 rows: the last blocks are smaller
    weight = network[3].weight.detach().flatten(1)
    found = saliencies(BlockFisher((rows, columns)), network, NAMES, batches)["3.weight"].flatten(1)
    shares = [weight * gradients(network, batch, "3.weight").flatten(1) for batch in batches]
    for top in range(0, 5, rows):
        for left in range(0, 54, columns):
            block = (slice(top, top + rows), slice(left, left + columns))
            expected = sum(share[block].sum().square() for share in shares) / (2 * 3)
            assert torch.allclose(found[block].sum(), expected, rtol=1e-4, atol=1e-12)


def test_movement_counts_weights_that_grow(network, batches):
    weight = network[3].weight.detach()
    moved = sum(weight * gradients(network, batch, "3.weight") for batch in batches)
    found = saliencies(Movement(), network, NAMES, batches)["3.weight"]
    assert torch.allclose(found, moved.clamp(max=0).square(), rtol=1e-4, atol=1e-12)


def test_input_norm_of_a_convolution_is_the_norm_over_its_patches(network, batches):
    network.eval()
    with torch.no_grad():
        flowing = torch.cat([network[:3](inputs) for inputs, _ in batches[:2]])
    patches = F.unfold(flowing, 3, stride=2).transpose(1, 2).flatten(0, 1)
    expected = network[3].weight.detach().flatten(1).square() * patches.square().sum(0)
    found = saliencies(InputNorm(passes=2), network, NAMES, batches)["3.weight"].flatten(1)
    assert torch.allclose(found, expected, rtol=1e-4)


def test_input_norm_where_a_weight_has_a_row_for_each_input():
    """GPT-2's linear layers, and a transposed convolution with a kernel of one."""
    inputs = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    linear = Conv1D(7, 5)
    found = saliencies(InputNorm(), linear, ["weight"], [(inputs, inputs)])["weight"]
    expected = linear.weight.detach().square() * inputs.flatten(0, 1).square().sum(0)[:, None]
    assert torch.allclose(found, expected, rtol=1e-4)
    transposed = nn.ConvTranspose1d(6, 4, 1, stride=3, groups=2)
    found = saliencies(InputNorm(), transposed, ["weight"], [(inputs, inputs)])["weight"]
    norms = inputs.square().sum((0, 2))[:, None, None]
    assert torch.allclose(found, transposed.weight.detach().square() * norms, rtol=1e-4)


def test_what_a_network_sees_decides_what_it_keeps():
    """Columns that are always 0 go first, however large their weights."""
    layer = nn.Linear(8, 4)
    layer.weight.data[:, 5] = 100
    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    inputs[:, 5] = 0
    kept = Unstructured(0.5).project(
        layer.weight.detach(), saliencies(InputNorm(), layer, ["weight"], [(inputs, inputs)])["weight"]
    )
    assert not kept[:, 5].any()


def test_gates_of_one_are_wanda_and_a_factor_of_all_gates_changes_no_order():
    generator = torch.Generator().manual_seed(0)
    rows, gates = torch.randn(50, 12, generator=generator), torch.rand(50, generator=generator)
    weight = torch.randn(6, 12, generator=generator)

    def saliency(given):
        squares = InputSquares(12)
        for start in (0, 20, 35):  # batches of unequal size
            part = slice(start, {0: 20, 20: 35, 35: 50}[start])
            squares.add(rows[part], None if given is None else given[part])
        return squares.saliency(weight)

    plain = saliency(None)
    assert torch.equal(plain, saliency(torch.ones(50)))
    assert torch.allclose(plain, (weight.abs() * rows.norm(dim=0)).square(), rtol=1e-5)
    gated = saliency(gates)
    assert torch.allclose(gated, (weight.abs() * (rows * gates[:, None]).norm(dim=0)).square(), rtol=1e-5)
    assert torch.equal(gated.argsort(1), saliency(0.25 * gates).argsort(1))
    assert not torch.equal(gated.argsort(1), plain.argsort(1))


def test_an_expert_without_tokens_is_ranked_by_its_weights():
    weight = torch.randn(3, 4)
    assert torch.equal(InputSquares(4).saliency(weight), weight.square())


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (lambda n, b: saliencies("taylor", n, NAMES, b), "'taylor' is no criterion"),
        (lambda n, b: saliencies(Taylor(), n, ["0.bias2"], b), "no parameter '0.bias2'"),
        (lambda n, b: saliencies(Taylor(), n, NAMES), "Taylor needs batches"),
        (lambda n, b: saliencies(InputNorm(), n, NAMES), "InputNorm needs batches"),
        (lambda n, b: saliencies(Fisher(), n, NAMES, []), "not one batch"),
        (lambda n, b: saliencies(InputNorm(), n, NAMES, []), "not one batch"),
        (lambda n, b: saliencies(InputNorm(), n, ["1.weight"], b), "1 is a BatchNorm2d"),
        (
            lambda n, b: saliencies(InputNorm(), n, NAMES, [b[0][0] * 0]),
            "nothing but zeros flows into 0.weight",
        ),
        (
            lambda n, b: saliencies(Movement(), n, NAMES, [(b[0][0] * 0, b[0][1])]),
            "Movement: the loss's gradient by 0.weight is zero on every batch",
        ),
        (
            lambda n, b: saliencies(Taylor(loss=lambda y, t: 0 * y.sum()), n, NAMES, b),
            "is zero on every batch",
        ),
        (
            lambda n, b: saliencies(Taylor(), n, NAMES, [(b[0][0] * torch.nan, b[0][1])]),
            "saliency of 0.weight is not finite",
        ),
        (
            lambda n, b: saliencies(Taylor(loss=lambda y, t: n[5].bias.sum()), n, NAMES, b),
            "does not depend on 0.weight",
        ),
        (lambda n, b: saliencies(Taylor(), n, NAMES, [b[0][0]]), "the batches hold no labels"),
        (lambda n, b: saliencies(Taylor(), n, NAMES, [(b[0][0], b[0][1][1:])]), "do not fit scores of shape"),
        (
            lambda n, b: saliencies(Taylor(), n, NAMES, [(b[0][0], b[0][1].float())]),
            "whole numbers, not float32",
        ),
        (lambda n, b: saliencies(Taylor(), n, NAMES, [(b[0][0], b[0][1] + 9)]), "is out of range"),
        (
            lambda n, b: saliencies(Taylor(), n, NAMES, [(b[0][0][:, :1], b[0][1])]),
            "cannot be run on a batch of shape",
        ),
        (lambda n, b: saliencies(InputNorm(), n, NAMES, ["text"]), "a batch is a pair"),
        (lambda n, b: saliencies(Magnitude(), None, NAMES), "saliencies needs a network, .*, not None"),
        (lambda n, b: Taylor(passes=-1), "Taylor: passes must be a whole number from 1 up, not -1"),
        (lambda n, b: BlockFisher((2, 2), passes=0), "BlockFisher: passes must be a whole number"),
        (lambda n, b: InputNorm(passes="2"), "InputNorm: passes must be a whole number from 1 up, not '2'"),
        (lambda n, b: InputSquares(4).add(torch.ones(3, 5)), r"\(tokens, 4\) are needed"),
        (lambda n, b: InputSquares(4).add(torch.ones(3, 4), torch.ones(2)), "3 tokens have gates"),
    ],
)
def test_mistakes_are_one_sentence(network, batches, work, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        work(network, batches)


class Named(nn.Module):
    """Takes inputs by name and gives `logits`, as transformers' networks do."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return {"logits": self.network(pixels)}


@pytest.mark.parametrize(
    "criterion",
    [Taylor(), Taylor(1, training=True), Fisher(), InputNorm()],
    ids=["taylor", "taylor training", "fisher", "norm"],
)
def test_networks_and_batches_of_named_tensors(criterion, network, batches):
    plain = saliencies(criterion, network, ["0.weight"], batches)
    named = [{"pixels": inputs, "labels": labels} for inputs, labels in batches]
    found = saliencies(criterion, Named(network), ["network.0.weight"], named)
    torch.testing.assert_close(found["network.0.weight"], plain["0.weight"])
    if criterion == InputNorm():
        without = saliencies(criterion, network, ["0.weight"], [inputs for inputs, _ in batches])
        assert torch.equal(without["0.weight"], plain["0.weight"])


@pytest.mark.parametrize("criterion", [Taylor(), Fisher(), Movement()])
def test_a_frozen_weight_has_no_gradient(criterion, network, batches):
    network.get_parameter(NAMES[0]).requires_grad_(False)
    with pytest.raises(SpokeshaveError, match=r"0.weight is frozen \(requires_grad is False\)"):
        saliencies(criterion, network, NAMES, batches)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda scores, labels: 1.0, "not one of type float"),
        (
            lambda scores, labels: F.cross_entropy(scores, labels, reduction="none"),
            r"not a tensor of shape \(6,\)",
        ),
        (lambda scores, labels: scores.detach().sum(), "depends on nothing that has one"),
    ],
)
def test_a_loss_is_one_number_with_a_gradient(network, batches, loss, sentence):
    with pytest.raises(SpokeshaveError, match=f"the loss must give one number with a gradient.*{sentence}"):
        saliencies(Taylor(loss=loss), network, NAMES, batches)


def test_labels_of_a_type_that_losses_do_not_read_are_told():
    batches = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.int32))]
    with pytest.raises(SpokeshaveError, match=r"labels of type torch\.int32 .* give labels\.long\(\)"):
        saliencies(Taylor(), nn.Linear(4, 3), ["weight"], batches)
