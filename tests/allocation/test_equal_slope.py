"""Equal slopes: targets, the sign of the power term, better than uniform, curves that say nothing."""

import pytest
import torch
from torch import nn

from spokeshave.allocation import EqualSlope, allocate_equal_slope, block_power
from spokeshave.allocation.curves import second_order_change
from spokeshave.allocation.output_error import OutputError
from spokeshave.allocation.search import Slopes, settle
from spokeshave.criteria import Taylor, mean_gradients, squared_outputs
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, begin
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.ranking import density
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks
from spokeshave.workload import trace

EXAMPLE = torch.zeros(1, 3, 8, 8)
TWENTIETHS = tuple(1 - step / 20 for step in range(21))


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24 * 9, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 3, 8, 8, generator=generator), torch.zeros(16)) for _ in range(2)]


def unstructured(share):
    return Unstructured(1 - share)


def left(network, shares):
    layers = [layer for layer in trace(network, EXAMPLE).layers if layer.parameter]
    work = sum(layer.multiply_adds * shares.get(layer.parameter, 1.0) for layer in layers)
    return work / sum(layer.multiply_adds for layer in layers)


@pytest.mark.parametrize("remaining", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("slopes", ["work", "share"])
@pytest.mark.parametrize("convex", [True, False])
def test_the_target_is_met(network, batches, remaining, slopes, convex):
    method = EqualSlope(remaining, slopes=slopes, convex=convex, tolerance=0.01)
    found = allocate_equal_slope(method, network, EXAMPLE, batches, unstructured)
    assert found.remaining == pytest.approx(remaining, abs=0.02)
    begin(OneShot(Taylor(loss=squared_outputs), batches), network, found.plan).finish()
    realised = {name: density(network.get_parameter(name)) for name in found.shares}
    assert realised == found.kept
    assert left(network, realised) == pytest.approx(found.remaining)


def test_everything_may_remain(network, batches):
    found = allocate_equal_slope(EqualSlope(1.0), network, EXAMPLE, batches, unstructured)
    assert found.remaining == 1
    assert set(found.shares.values()) == {1.0}


@pytest.mark.parametrize("remaining", [0.3, 0.5, 0.7])
def test_whole_blocks_keep_what_was_asked_for(remaining):
    """Each of eight layers has nine blocks, none of which keeps a half: all 72 come as near as blocks allow."""
    torch.manual_seed(0)
    network = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Linear(48, 48), nn.Tanh())))
    example, batches = torch.zeros(1, 48), [torch.randn(64, 48)]
    found = allocate_equal_slope(
        EqualSlope(remaining), network, example, batches, lambda share: Blocks(1 - share)
    )
    begin(OneShot(Taylor(loss=squared_outputs), batches), network, found.plan).finish()
    realised = sum(density(network.get_parameter(name)) for name in found.shares) / 8
    assert found.remaining == pytest.approx(realised)
    assert realised == pytest.approx(remaining, abs=max(0.01 * remaining, 0.5 / 72))


def summed_distortion(network, batches, shares):
    gradients = mean_gradients(Taylor(loss=squared_outputs), network, shares, batches)
    total = 0.0
    for name, share in shares.items():
        weight = network.get_parameter(name).detach()
        kept = unstructured(share).project(weight, (weight * gradients[name]).square())
        total += second_order_change(kept - weight, gradients[name])
    return total


def test_curves_serve_every_target(network, batches):
    curves = allocate_equal_slope(EqualSlope(0.7), network, EXAMPLE, batches, unstructured).curves
    fresh = allocate_equal_slope(EqualSlope(0.3), network, EXAMPLE, batches, unstructured)
    again = allocate_equal_slope(EqualSlope(0.3), network, EXAMPLE, iter(()), unstructured, curves=curves)
    assert again.shares == fresh.shares
    curves.popitem()
    with pytest.raises(
        SpokeshaveError, match=r"curves are of 3 weights .* which are 4 weights at 101 shares"
    ):
        allocate_equal_slope(EqualSlope(0.3), network, EXAMPLE, batches, unstructured, curves=curves)


@pytest.mark.parametrize("remaining", [0.3, 0.5, 0.7])
def test_equal_slopes_are_not_worse_than_equal_shares(network, batches, remaining):
    found = allocate_equal_slope(EqualSlope(remaining), network, EXAMPLE, batches, unstructured)
    uniform = dict.fromkeys(found.shares, found.remaining)
    assert summed_distortion(network, batches, found.shares) < summed_distortion(network, batches, uniform)


def test_measured_distortions_are_allocated_better_than_equal_shares(network, batches):
    method = EqualSlope(0.5, TWENTIETHS, 0.0, distortion="measured", ranking="magnitude", tolerance=0.02)
    found = allocate_equal_slope(method, network, EXAMPLE, batches, unstructured)
    error = OutputError.of(network, batches, None)

    def summed(shares):
        weights = {name: network.get_parameter(name).detach() for name in shares}
        return sum(
            error.with_weight(name, unstructured(share).project(weights[name]))
            for name, share in shares.items()
        )

    assert found.remaining == pytest.approx(0.5, abs=0.02)
    assert summed(found.shares) < summed(dict.fromkeys(found.shares, found.remaining))
    assert found.curves["0.weight"].distortion[0] == 0


def test_a_layer_steeper_than_all_others_keeps_everything():
    flat = torch.tensor([[1.0] * 11, [9.0] * 11], dtype=torch.float64)
    slopes = Slopes(("cheap", "dear"), flat, tuple(1 - step / 10 for step in range(11)))
    assert slopes.nearest(2.0).tolist() == [10, 0]


def test_convex_curves_end_at_equal_slopes_between_floors(network, batches):
    found = allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured)
    steps = {name: round((1 - share) * 100) for name, share in found.shares.items()}
    inside = [name for name, step in steps.items() if 2 < step < 93]
    assert len(inside) > 1
    lowest = max(float(found.curves[name].slope[steps[name] - 2]) for name in inside)
    highest = min(float(found.curves[name].slope[steps[name] + 2]) for name in inside)
    assert lowest <= highest * (1 + 1e-9)


def hungry(layer, share):
    return share * (100.0 if layer.parameter == "2.weight" else 1.0)


@pytest.mark.parametrize(("power_of", "sign"), [("surviving", -1), ("removed", 1)])
def test_power_of_what_survives_prunes_hungry_layers_more(network, batches, power_of, sign):
    plain = allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured).shares
    method = EqualSlope(0.5, power=hungry, power_of=power_of)
    powered = allocate_equal_slope(method, network, EXAMPLE, batches, unstructured)
    assert sign * (powered.shares["2.weight"] - plain["2.weight"]) > 0.03
    assert powered.remaining == pytest.approx(0.5, abs=0.02)
    assert (sign * powered.curves["2.weight"].power.diff() > 0).all()


def test_the_power_term_is_as_strong_as_its_weight(network, batches):
    """Nothing at 0, and the more the heavier."""
    plain = allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured).shares
    found = [
        allocate_equal_slope(
            EqualSlope(0.5, power=hungry, power_weight=weight), network, EXAMPLE, batches, unstructured
        ).shares
        for weight in (0.0, 0.003, 0.01)
    ]
    assert found[0] == plain
    assert found[0]["2.weight"] > found[1]["2.weight"] > found[2]["2.weight"]
    with pytest.raises(SpokeshaveError, match=r"power_weight must be at least 0 and finite, not -1"):
        EqualSlope(0.5, power_weight=-1)


def test_power_counts_blocks_and_input_features(network):
    first, second, third, _ = trace(network, EXAMPLE).layers
    power = block_power((8, 32))
    assert power(first, 1.0) == 0
    assert power(second, 0.5) == 0.5 * 3 * 5 * 1
    assert power(third, 1.0) == 4 * 7 * 13


def test_flat_curves_share_evenly():
    flat = torch.zeros(2, 11, dtype=torch.float64)
    slopes = Slopes(("one", "other"), flat, tuple(1 - step / 10 for step in range(11)))
    shares, _ = settle(slopes, lambda shares: sum(shares.values()) / 2, 0.5, 0.005)
    assert set(shares.values()) == {0.5}


def test_weights_and_gradients_of_zeros_say_nothing(network, batches):
    network[-1].weight.data.zero_()
    with pytest.raises(SpokeshaveError, match=r"gradient by 0.weight is zero on every batch"):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured)
    for parameter in network.parameters():
        parameter.data.zero_()
    with pytest.raises(SpokeshaveError, match="all weights are zero"):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured)


def test_a_layer_keeps_no_less_than_its_scheme_can(network, batches):
    """Blocks of 8 x 9 leave the first layer, two rows of three of them, a sixth or more, and bits are two or more."""
    method = EqualSlope(0.4, floor=0.01)
    found = allocate_equal_slope(method, network, EXAMPLE, batches, lambda share: Blocks(1 - share, (8, 9)))
    assert found.remaining == pytest.approx(0.4, abs=0.05)
    first = found.curves["0.weight"]
    assert 0.08 < min(first.shares) == pytest.approx(1 / 6, abs=0.1)
    assert found.shares["0.weight"] >= min(first.shares)
    again = allocate_equal_slope(
        method, network, EXAMPLE, batches, lambda share: Blocks(1 - share, (8, 9)), curves=found.curves
    )
    assert again.shares == found.shares
    eighths = tuple(eighth / 8 for eighth in range(8, 0, -1))
    bits = EqualSlope(0.4, shares=eighths, smoothing=0.0, tolerance=0.02)
    found = allocate_equal_slope(bits, network, EXAMPLE, batches, lambda share: FixedPoint(round(8 * share)))
    assert min(found.shares.values()) >= 2 / 8
    with pytest.raises(SpokeshaveError, match=r"0.weight: .* block of 64 x 64 is larger"):
        allocate_equal_slope(
            EqualSlope(0.4), network, EXAMPLE, batches, lambda share: Blocks(1 - share / 9, (64, 64))
        )


def test_a_layer_that_costs_nothing_goes_first():
    slopes = Slopes(
        ("free", "dear"),
        torch.stack([torch.zeros(11), torch.linspace(0.1, 1, 11)]).double(),
        tuple(1 - step / 10 for step in range(10)),
    )
    shares, remaining = settle(slopes, lambda shares: sum(shares.values()) / 2, 0.5, 0.02)
    assert shares["free"] == pytest.approx(0.1)
    assert shares["dear"] == pytest.approx(0.9)
    assert remaining == pytest.approx(0.5)


def test_blocks_and_bits_are_allocated_by_the_same_function(network, batches):
    method = EqualSlope(0.5, shares=TWENTIETHS, dense=("7",), tolerance=0.02)
    blocks = allocate_equal_slope(method, network, EXAMPLE, batches, lambda share: Blocks(1 - share, (4, 9)))
    assert all(isinstance(scheme, Blocks) for scheme in blocks.plan.resolve(network).values())
    assert "7.weight" not in blocks.shares
    eighths = tuple(bits / 8 for bits in range(8, 1, -1))
    method = EqualSlope(5 / 8, shares=eighths, smoothing=0.0, floor=0.25, tolerance=0.02)
    found = allocate_equal_slope(
        method, network, EXAMPLE, batches, lambda share: FixedPoint(round(8 * share), "tensor")
    )
    bits = {name: scheme.bits for name, scheme in found.plan.resolve(network).items()}
    assert bits == {name: round(8 * share) for name, share in found.shares.items()}
    assert left(network, found.shares) == pytest.approx(5 / 8, abs=0.08)


def test_the_target_may_be_a_cost(network, batches):
    plans = []

    def cost(plan):
        plans.append(plan)
        schemes = plan.resolve(network)
        return 1.0 + sum(9.0 * (1 - schemes[name].sparsity) ** 2 for name in schemes)

    found = allocate_equal_slope(
        EqualSlope(0.5, tolerance=0.02), network, EXAMPLE, batches, unstructured, cost
    )
    assert cost(found.plan) / 37 == pytest.approx(0.5, abs=0.02)
    assert found.remaining == cost(found.plan) / 37
    assert len(plans) < 60
    with pytest.raises(SpokeshaveError, match="cost of the whole network"):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured, lambda plan: 0.0)
    with pytest.raises(SpokeshaveError, match=r"0\.5 cannot remain: .* 1 is left"):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured, lambda plan: 3.0)


def test_what_cannot_be_met_or_read_gets_a_sentence(network, batches):
    with pytest.raises(SpokeshaveError, match="cannot remain"):
        allocate_equal_slope(EqualSlope(0.1, dense=("2",)), network, EXAMPLE, batches, unstructured)
    with pytest.raises(SpokeshaveError, match="even steps"):
        EqualSlope(shares=(1.0, 0.5, 0.2))
    with pytest.raises(SpokeshaveError, match="remaining must be a fraction"):
        EqualSlope(50)
    with pytest.raises(SpokeshaveError, match=r"remaining must be a fraction, not '0\.5'"):
        EqualSlope("0.5")
    with pytest.raises(SpokeshaveError, match="shares must be numbers"):
        EqualSlope(shares=("a", "b", "c"))
    small, data = nn.Sequential(nn.Linear(4, 4)), [(torch.randn(8, 4), torch.zeros(8))]
    with pytest.raises(SpokeshaveError, match=r"0.001 cannot remain: .* 0\.0625 is left"):
        allocate_equal_slope(EqualSlope(0.001), small, torch.zeros(1, 4), data, unstructured)
    with pytest.raises(SpokeshaveError, match="more than once: give a list or a loader"):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, iter(batches), unstructured)
    with pytest.raises(SpokeshaveError, match="EqualSlope needs batches"):
        allocate_equal_slope(EqualSlope(), network, EXAMPLE, None, unstructured)
    with pytest.raises(SpokeshaveError, match=r"0\.weight: a share of 1 needs a scheme, .*, not 'half'"):
        allocate_equal_slope(EqualSlope(), network, EXAMPLE, batches, lambda share: "half")
    with pytest.raises(SpokeshaveError, match="not one batch"):
        allocate_equal_slope(EqualSlope(), network, EXAMPLE, [], unstructured)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"cost": 5}, "cost must be a function"),
        ({"cost": lambda plan: None}, "what cost gives must be at least 0 and finite, not None"),
        ({"cost": lambda plan: float("nan")}, "what cost gives must be at least 0 and finite, not nan"),
        ({"curves": 3}, "curves must be those of an earlier allocation"),
        ({"curves": {"0.weight": 3}}, "the curve of 0.weight must be one of an earlier allocation"),
    ],
)
def test_costs_and_curves_of_other_kinds(network, batches, given, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, batches, unstructured, **given)


def test_a_power_that_is_no_number(network, batches):
    method = EqualSlope(0.5, power=lambda layer, share: None)
    with pytest.raises(SpokeshaveError, match="what power gives must be at least 0 and finite, not None"):
        allocate_equal_slope(method, network, EXAMPLE, batches, unstructured)


def test_data_that_are_not_numbers(network, batches):
    broken = [(inputs * float("nan"), labels) for inputs, labels in batches]
    with pytest.raises(SpokeshaveError, match="not finite"):
        allocate_equal_slope(EqualSlope(0.5), network, EXAMPLE, broken, unstructured)
