"""What FORMS's check measures: LeNet-5 on MNIST under its schemes, ResNet-20 on crossbars, and modelled chips."""

import copy
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from papers.mnist import mnist
from papers.pruning import Training, by_admm, realised_density, trained
from papers.trials import remembered_tensors
from spokeshave.data import DATA, Batches, Data
from spokeshave.devices import load_device
from spokeshave.devices.crossbars import effective_cycles
from spokeshave.devices.crossbars.array import Array
from spokeshave.devices.crossbars.occupancy import lockstep_bits, used
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.measure import evaluate
from spokeshave.methods import (
    ADMM,
    MaskedFineTuning,
    OneShot,
    Reconstruction,
    Teacher,
    begin,
    refresh_batch_norm,
    train,
)
from spokeshave.networks import cifar_resnet
from spokeshave.networks.imagenet import resnet18
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.word_lines import ORDERS, Order, word_lines
from spokeshave.workload import Workload, trace

FRAGMENTS = (4, 8, 16, 128)
RAMPED = ADMM(rho=0.02, rho_growth=1.5, update_steps=15, rho_limit=2.0)
DENSE_RATE, PRUNED_RATE = 2e-3, 1e-3
ORDER: Order = "channel"  # of ResNet-20's fragments, which it bears best
VARIED = (0, 1)  # seeds of the variation of cells
POLARIZED = "polarized fragments"
OPTIMISED = "crossbars pruned (optimised ISAAC)"
FORMS = "zero bits skipped (FORMS)"
WIDER = "fragments of 16 instead"
PRUNED = 0.7  # of word lines and of filters, before rounding up to whole crossbars


def lenet() -> nn.Sequential:
    """LeNet-5 with rectified linear units."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


@cache
def lenet_data() -> Data:
    """MNIST; the first 1,000 test images. Raises SpokeshaveError where it is absent."""
    return mnist(64, 1_000)


def everywhere(scheme: Scheme) -> Plan:
    """One scheme for all weights."""
    return Plan((Rule("*.weight", scheme),))


def forms_scheme(fragment: int = 8) -> Scheme:
    """What FORMS trains: whole crossbars gone, fragments of one sign, eight bits."""
    filters = CrossbarPruned(PRUNED, "filters", crossbar=32)
    return Intersection((filters, CrossbarPruned(PRUNED, run=fragment), Polarized(fragment), FixedPoint(8)))


def lenet_trial(seed: int, samples: int) -> dict[str, Any]:
    """Accuracies of one network: dense, polarized in three ways at every fragment, and under all of FORMS."""
    torch.manual_seed(seed)
    data, dense = lenet_data().shortened(samples), lenet()
    trained(dense, data, 3, DENSE_RATE, seed)
    found: dict[str, Any] = {"seed": seed, "dense": accuracy(dense, data)}
    for fragment in FRAGMENTS:
        found[str(fragment)] = polarized_in_steps(dense, data, everywhere(Polarized(fragment)), seed)
    plan, network = everywhere(forms_scheme()), copy.deepcopy(dense)
    training = Training(admm=2, masked=1, pruning_rate=PRUNED_RATE, method=RAMPED)
    by_admm(network, data, [plan], training, seed, nn.functional.cross_entropy)
    names = [name for name, parameter in network.named_parameters() if parameter.dim() > 1]
    found["forms"] = {"accuracy": accuracy(network, data), "density": realised_density(network, names)}
    return found | {"on_crossbars": on_crossbars(dense, network, data, plan)}


def polarized_in_steps(dense: nn.Module, data: Data, plan: Plan, seed: int) -> dict[str, float]:
    """Projected at once, or brought by ADMM, then retrained: accuracies, and how far ADMM was from its set."""
    at_once, slowly = copy.deepcopy(dense), copy.deepcopy(dense)
    begin(OneShot(), at_once, plan).finish()
    found = {"one-shot": accuracy(at_once, data)}
    trained(at_once, data, 1, PRUNED_RATE, seed, begin(MaskedFineTuning(), at_once, plan))
    session = begin(RAMPED, slowly, plan)
    optimizer = torch.optim.Adam(slowly.parameters(), PRUNED_RATE)
    train(slowly, data, 2, optimizer=optimizer, session=session, seed=seed)
    residual = max(session.residuals().values())
    session.finish()
    found |= {
        "one-shot, retrained": accuracy(at_once, data),
        "ADMM": accuracy(slowly, data),
        "residual": residual,
    }
    trained(slowly, data, 1, PRUNED_RATE, seed, begin(MaskedFineTuning(), slowly, plan))
    return found | {"ADMM, retrained": accuracy(slowly, data)}


def accuracy(network: Any, data: Data) -> float:
    """On the test images."""
    return evaluate(network, data.held_out).top1


def on_crossbars(dense: nn.Module, network: nn.Module, data: Data, plan: Plan) -> dict[str, Any]:
    """Accuracies on simulated chips: without variation of cells, and with that of the files."""
    chips = {"isaac": (eight_bits("isaac"), dense.eval(), everywhere(FixedPoint(8)))}
    begin(OneShot(), dense, chips["isaac"][2]).finish()
    chips["forms"] = eight_bits("forms"), network.eval(), plan
    return {name: judged(*chip, data) for name, chip in chips.items()}


def eight_bits(name: str) -> ReRAMDevice:
    """A chip whose inputs have eight bits, which halves the time of its simulation."""
    device = load_device(name)
    assert isinstance(device, ReRAMDevice)
    return device.with_figures(input_bits=8, effective_bits=8)


def judged(device: ReRAMDevice, network: nn.Module, plan: Plan, data: Data) -> dict[str, Any]:
    """Accuracies of a network on a chip, with converters wide enough as well."""
    wide = device.with_figures(variation=0, adc_bits=12)
    seen = [next(iter(data.train))[0]]
    example = seen[0][:1]

    def on(chip: ReRAMDevice, seed: int = 0) -> float:
        return accuracy(chip.deploy(network, example, plan, seen, seed=seed), data)

    return {
        "whole numbers": on(wide),
        "converters": on(device.with_figures(variation=0)),
        "varied": [on(device, seed) for seed in VARIED],
    }


def lenet_cells() -> dict[str, float]:
    """How many times fewer cells FORMS's steps leave of LeNet-5 in 32-bit weights on pairs of crossbars.

    `before`, `after`: crossbars, each layer's rounded up to whole ones.
    """
    workload = trace(lenet(), torch.zeros(1, 1, 28, 28))
    array = eight_bits("forms").array
    dense, pruned = (
        [used(layer, scheme, array) for layer in workload.layers] for scheme in (None, forms_scheme())
    )
    weights = [float(sum(lines * columns for lines, columns in sizes)) for sizes in (dense, pruned)]
    wide = 2 * -(-31 // array.cell_bits)  # cells of a weight of 32 bits, its sign by the crossbar
    return {
        "pruning": weights[0] / weights[1],
        "quantization": 32 / 8,
        "polarization": 2.0,
        "before": whole_crossbars(dense, wide, array),
        "after": whole_crossbars(pruned, array.cells_per_weight, array),
    }


def whole_crossbars(sizes: list[tuple[int, int]], cells: int, array: Array) -> int:
    """Crossbars for layers of so many word lines and outputs, each weight of which takes `cells` bit lines."""
    return sum(-(-lines // array.rows) * -(-columns * cells // array.columns) for lines, columns in sizes)


@dataclass(frozen=True)
class Amount:
    """How much of ResNet-20's trial is run: images and epochs of training, images that are judged, and on crossbars."""

    name: str
    samples: int
    epochs: int
    judged: int
    on_crossbars: int


WHOLE, QUICK = Amount("", 50_000, 7, 2_000, 500), Amount("-quick", 512, 1, 250, 250)


def resnet_on_isaac(amount: Amount) -> dict[str, Any]:
    """The pretrained ResNet-20 in eight bits, judged on crossbars with an offset."""
    dense = pretrained()
    begin(OneShot(), dense, everywhere(FixedPoint(8))).finish()
    return judged(eight_bits("isaac"), dense, everywhere(FixedPoint(8)), on_few(amount))


def polarized_resnet(fragment: int, amount: Amount) -> dict[str, Any]:
    """The same polarized by so many rows, on the chip of FORMS that reads as many at once; input bits of fragments."""
    some, network = resnet_data(amount), pretrained()
    found: dict[str, Any] = {"dense": accuracy(network, some)}
    for order in ORDERS:
        fitted = fitted_resnet(Polarized(fragment, order), some)
        found[order] = {
            "fitted": accuracy(fitted, some),
            "bits": input_bits(fitted, images_of(some, 16), order),
        }
    train_once = partial(trained_resnet, fragment, amount)
    network.load_state_dict(remembered_tensors(f"forms/resnet{amount.name}-{fragment}", train_once))
    found |= {
        "polarized": accuracy(network, some),
        "bits": input_bits(network, images_of(some, 16), ORDER, fragment),
    }
    chip = eight_bits("forms").with_figures(rows_at_once=fragment)
    return found | {"forms": judged(chip, network, resnet_plan(fragment), on_few(amount))}


def trained_resnet(fragment: int, amount: Amount) -> dict[str, Tensor]:
    """Fitted layer by layer, then taught by the dense network, the signs of fragments as they are."""
    torch.manual_seed(0)
    some, network = resnet_data(amount), fitted_resnet(Polarized(fragment, ORDER), resnet_data(amount))
    begin(OneShot(), network, resnet_plan(fragment)).finish()
    session = begin(MaskedFineTuning(), network, resnet_plan(fragment))
    train(
        network,
        some,
        amount.epochs,
        weight_decay=1e-4,
        session=session,
        teacher=Teacher(pretrained(), share=0.9),
        precision=torch.bfloat16,
    )
    session.finish()
    refresh_batch_norm(network, [(images_of(some, 2_000),)])
    return network.state_dict()


def fitted_resnet(scheme: Scheme, data: Data) -> nn.Module:
    """The pretrained network, each layer polarized by what keeps its outputs on 512 images."""
    network = pretrained()
    images = images_of(data, 512)
    batches = [(each, torch.zeros(len(each))) for each in images.split(64)]  # no labels are used
    begin(Reconstruction(batches, 8), network, everywhere(scheme)).finish()
    return network


def resnet_plan(fragment: int) -> Plan:
    """Fragments along channels, in eight bits."""
    return everywhere(Polarized(fragment, ORDER) & FixedPoint(8))


def pretrained() -> nn.Module:
    """The dense ResNet-20."""
    return cifar_resnet(20, "pretrained").eval()


def resnet_data(amount: Amount) -> Data:
    """CIFAR-10: as many images an epoch, and as many to judge."""
    data = DATA["cifar10"]()
    assert isinstance(data.held_out, Batches)
    tested = Batches(data.held_out.inputs[: amount.judged], data.held_out.labels[: amount.judged], 250)
    return Data(data.shortened(amount.samples).train, tested, classes=10, name="cifar10")


def on_few(amount: Amount) -> Data:
    """The same with the images that are judged on crossbars."""
    return resnet_data(replace(amount, judged=amount.on_crossbars))


def images_of(data: Data, count: int) -> Tensor:
    """The first images of the training data, as they are."""
    assert isinstance(data.train, Batches)
    return data.train.inputs[:count]


def input_bits(network: nn.Module, images: Tensor, order: Order, read: int = 8) -> dict[str, Any]:
    """Mean bits of 16 that fragments need: inputs in one format for the network, or in one for each layer.

    Fragments lie along an axis of kernels, `order`. `by_layer`: what crossbars that wait for each other take, by layer,
    of which `read` rows are read at once.
    """
    seen: dict[str, tuple[nn.Conv2d, Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda module, inputs, name=name: seen.update({name: (module, inputs[0])})
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and name != "conv1"
    ]
    with torch.inference_mode():
        network(images)
    for handle in handles:
        handle.remove()
    largest = max(float(x.max()) for _, x in seen.values())
    found: dict[str, Any] = {"by_layer": {}}
    for fragment in FRAGMENTS[:3]:
        shared, own = [], []
        for name, (layer, x) in seen.items():
            patches = nn.functional.unfold(x, 3, padding=1, stride=layer.stride)
            vectors = patches.transpose(1, 2).flatten(0, 1)[:, word_lines(tuple(layer.weight.shape), order)]
            cycles = [
                effective_cycles((vectors / most * 65535).int(), fragment)
                for most in (largest, float(x.max()))
            ]
            shared.append(float(cycles[0].double().mean()))
            own.append(float(cycles[1].double().mean()))
            if fragment == read:
                array = eight_bits("forms").with_figures(rows_at_once=read).array
                found["by_layer"][name] = lockstep_bits(cycles[0], array)
        found[str(fragment)] = {"shared": sum(shared) / len(shared), "own": sum(own) / len(own)}
    return found


def chips(bits: dict[str, float], bits_of_16: dict[str, float] | None = None) -> dict[str, Any]:
    """Throughput by area and by power, modelled, as FORMS's ingredients come one by one, for two networks.

    Fragments of 16 are among them where the bits that they need are given.
    """
    networks = {
        "ResNet-20": trace(cifar_resnet(20), torch.zeros(1, 3, 32, 32)),
        "ResNet-18": trace(resnet18(), torch.zeros(1, 3, 224, 224)),
    }
    found: dict[str, Any] = {}
    for name, workload in networks.items():
        steps = _with_bits(bits, name)
        del steps[WIDER]
        if bits_of_16 is not None:
            steps |= {WIDER: _with_bits(bits_of_16, name)[WIDER]}
        found[name] = {step: figures(*chip, workload) for step, chip in steps.items()}
    return found


def _with_bits(bits: dict[str, float], network: str) -> "dict[str, Step]":
    """Layer by layer for the network whose bits were counted, their mean for the other."""
    return ingredients(bits if network == "ResNet-20" else {}, sum(bits.values()) / len(bits))


def factors(modelled: dict[str, Any], bits: dict[str, float]) -> dict[str, dict[str, float]]:
    """What makes FORMS's throughput by area that of optimised ISAAC, or not: the factors one by one, by network.

    `pass`: time of all rows of a crossbar for one bit; `area`: of a crossbar with its share of everything; `crossbars`:
    that hold the network; `bits`: of inputs, of which fragments skip some. `pairs`: what FORMS gains on a pruned chip
    that has positive and negative weights on crossbars of their own; `even`: bits at which it would be even with ISAAC.
    """
    networks = {
        "ResNet-20": trace(cifar_resnet(20), torch.zeros(1, 3, 32, 32)),
        "ResNet-18": trace(resnet18(), torch.zeros(1, 3, 224, 224)),
    }
    usual = sum(bits.values()) / len(bits)
    steps = ingredients({}, usual)
    isaac, plan, _ = steps[OPTIMISED]
    forms = steps[FORMS][0]
    found = {}
    for name, workload in networks.items():
        on_pairs = figures(isaac.with_facts(encoding="pairs"), plan, {}, workload)
        own, peer = modelled[name][FORMS], modelled[name][OPTIMISED]
        whole = own["per_mm2"] / peer["per_mm2"]
        skipped = own["per_mm2"] / modelled[name][POLARIZED]["per_mm2"]
        found[name] = {
            "pass": isaac.step_seconds / (forms.step_seconds * forms.array.rows / forms.array.rows_at_once),
            "area": isaac.crossbar_area / forms.crossbar_area,
            "crossbars": peer["crossbars"] / own["crossbars"],
            "bits": skipped,
            "whole": whole,
            "pairs": own["per_mm2"] / on_pairs["per_mm2"],
            "even": forms.array.input_bits / skipped * whole,
        }
    return found


Step = tuple[ReRAMDevice, Plan | None, dict[str, float]]


def ingredients(bits: dict[str, float], usual: float) -> dict[str, Step]:
    """From pairs of crossbars with 16-bit weights to FORMS, a step at a time: chip, plan, measured bits of inputs."""
    isaac, forms = load_device("isaac"), load_device("forms")
    assert isinstance(isaac, ReRAMDevice)
    assert isinstance(forms, ReRAMDevice)
    filters, lines = CrossbarPruned(PRUNED, "filters", crossbar=32), CrossbarPruned(PRUNED, run=8)
    by_8 = everywhere(Intersection((filters, lines, Polarized(8))))
    by_16 = everywhere(Intersection((filters, CrossbarPruned(PRUNED, run=16), Polarized(16))))
    skipping = forms.with_figures(effective_bits=usual)
    return {
        "pairs, 16 bits": (isaac.with_figures(weight_bits=16).with_facts(encoding="pairs"), None, {}),
        "offset, 16 bits (ISAAC)": (isaac.with_figures(weight_bits=16), None, {}),
        "8 bits": (isaac, None, {}),
        OPTIMISED: (isaac, everywhere(Intersection((filters, lines))), {}),
        POLARIZED: (forms.with_facts(skipping=False), by_8, {}),
        FORMS: (skipping, by_8, bits),
        WIDER: (skipping.with_figures(rows_at_once=16), by_16, bits),
    }


def figures(
    device: ReRAMDevice, plan: Plan | None, bits: dict[str, float], workload: Workload
) -> dict[str, float]:
    """Crossbars that hold the network once, samples a second and square millimetre, and a joule."""
    cost = device.cost(workload, plan, bits)
    assert cost.samples_per_second is not None
    assert cost.area_mm2 is not None
    assert cost.energy_joules is not None
    return {
        "crossbars": sum(layer.crossbars for layer in device.layers(workload, plan, bits)),
        "per_mm2": cost.samples_per_second / cost.area_mm2,
        "per_joule": 1 / cost.energy_joules,
    }
