"""Networks with their trained weights, pruned layer by layer without training, compiled and judged.

A pretrained CIFAR-10 ResNet-20, the keyword networks GRU-400 and LSTM-500 and the keyword transformer KWT-1; every
layer is brought into its scheme by ADMM on its own outputs (`Reconstruction`), fitted to data that a seed draws.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from papers.deployments import Store, Trial
from papers.keyword_transformer import heard_words
from papers.keywords import Listener, keywords
from papers.masks import Shape
from papers.pruning import inner_matrices, plan_of, realised_density
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import (
    FeatureDistillation,
    MaskedFineTuning,
    Reconstruction,
    Session,
    Teacher,
    Together,
    begin,
    refresh_batch_norm,
    train,
)
from spokeshave.networks import cifar_resnet, digits_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.scheme import Packed, Scheme

IMAGES, TEST_IMAGES, PASSES = 256, 2000, 8
TEACHING = 0.9, 2.0  # share of the teacher's scores, and their temperature
FEATURES = 3.0  # weight of features that are to be the teacher's


@dataclass(frozen=True)
class Subject:
    """What is pruned, compiled and judged; `listen` makes of a core, or its deployment, what scores whole samples.

    Layers are fitted to as many as `passes` batches of `data.train`, of images `fitted` of them.
    """

    kind: str
    about: str
    core: nn.Module
    names: list[str]
    data: Data
    example: tuple[Tensor, ...]
    listen: Callable[[Any], nn.Module]
    fitted: int = IMAGES
    passes: int = PASSES

    def calibration(self) -> list[tuple[tuple[Tensor, ...]]]:
        """Batches of what flows into the core on the data that layers are fitted to, the same every time."""
        seen: list[tuple[tuple[Tensor, ...]]] = []
        hook = self.core.register_forward_pre_hook(lambda _, inputs: seen.append((inputs,)))
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(0)
            for inputs, _ in self.data.train:
                self.listen(self.core)(inputs)
        hook.remove()
        return [
            seen[place] for place in torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))
        ]


def cnn(
    seed: int,
    quick: bool,
    depth: int = 20,
    test_images: int = TEST_IMAGES,
    fitted: int = IMAGES,
    passes: int = PASSES,
) -> Subject:
    """A ResNet and images; without CIFAR-10 the digits network, trained for a few epochs."""
    torch.manual_seed(seed)
    network: nn.Module
    try:
        data, network = DATA["cifar10"](), cifar_resnet(depth, "pretrained")
        about = f"ResNet-{depth} on CIFAR-10, {test_images} test images"
    except SpokeshaveError:
        data, network, about = DATA["digits"](), digits_network(), "a small ResNet on digits"
        train(network, data, 1 if quick else 8)
    assert isinstance(data.train, Batches)
    assert isinstance(data.held_out, Batches)
    order = torch.randperm(len(data.train.labels))[:fitted]
    layers = Batches(data.train.inputs[order], data.train.labels[order], 64 if quick else 128)
    count = 64 if quick else test_images
    test = Batches(data.held_out.inputs[:count], data.held_out.labels[:count], 500)
    names = inner_matrices(network)
    samples, example = Data(layers, test, 10, about), (test.inputs[:1],)
    return Subject("CNN", about, network.eval(), names, samples, example, lambda run: run, fitted, passes)


def gru(seed: int, quick: bool) -> Subject:
    """GRU-400, frame by frame."""
    return _of_words("GRU", seed, ["gates.weight", "candidate.weight"])


def lstm(seed: int, quick: bool) -> Subject:
    """LSTM-500, frame by frame."""
    return _of_words("LSTM", seed, ["gates.weight", "projection.weight"])


def _of_words(kind: str, seed: int, names: list[str]) -> Subject:
    words = keywords(seed, kind)

    def listen(cell: Any) -> nn.Module:
        return Listener(cell, words.cell.hidden)

    return Subject(kind, words.about, words.cell.eval(), names, words.clips, words.example, listen)


def transformer(seed: int, quick: bool) -> Subject:
    """KWT-1, a whole clip at a time."""
    words = heard_words(seed)
    clips = words.clips.held_out
    assert isinstance(clips, Batches)
    names = inner_matrices(words.network)
    example = (clips.inputs[:1],)
    return Subject("transformer", words.about, words.network, names, words.clips, example, lambda run: run)


@dataclass(frozen=True)
class FineTuning:
    """Training of what pruning left in `epochs` passes over `data`, with the dense network as teacher.

    `features` are layers that are to give what the teacher's give; `adam` is the optimiser instead of SGD.
    """

    data: Data
    epochs: int
    rate: float
    about: str
    features: tuple[str, ...] = ()
    adam: bool = False
    precision: torch.dtype = torch.float32
    seed: int = 0

    def run(self, network: nn.Module, dense: nn.Module, plan: Plan | None) -> None:
        """Train in place, all weights without a plan; a plan's patterns must hold for the network."""
        sessions: list[Session] = [begin(MaskedFineTuning(), network, plan)] if plan else []
        if self.features:
            method = FeatureDistillation(dense, self.features, FEATURES)
            sessions.append(begin(method, network, plan or Plan(())))
        session = Together(tuple(sessions)) if sessions else None
        train(
            network,
            self.data,
            self.epochs,
            learning_rate=self.rate,
            optimizer=torch.optim.Adam(network.parameters(), self.rate) if self.adam else None,
            session=session,
            teacher=Teacher(dense, *TEACHING),
            seed=self.seed,
            precision=self.precision,
        )
        if session:
            session.finish()
        refresh_batch_norm(network, self.data.train)


@dataclass(frozen=True)
class AtRandom:
    """Another scheme's set with one point of it chosen: the mask that a seed draws, whatever the weights are.

    For methods that choose by projection alone.
    """

    scheme: Scheme
    seed: int

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """The weight under the mask; a saliency changes nothing."""
        generator = torch.Generator().manual_seed(self.seed)
        worth = torch.rand(weight.shape, generator=generator) + 1e-3
        full = torch.where(weight == 0, 1.0, weight)  # a weight that lies in the set already is left as it is
        return torch.where(self.scheme.project(full, worth) != 0, weight, 0)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """As the scheme says."""
        return self.scheme.supports(shape)

    def contains(self, weight: Tensor) -> bool:
        """As the scheme says."""
        return self.scheme.contains(weight)

    def pack(self, weight: Tensor) -> Packed:
        """As the scheme does."""
        return self.scheme.pack(weight)


def right_answers(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> str:
    """A digit for each sample, 1 where the network gives it its own label."""
    with torch.inference_mode():
        right = [network(inputs).argmax(1) == labels for inputs, labels in batches]
    return "".join(str(int(one)) for one in torch.cat(right))


def packed_bytes(core: nn.Module, names: Sequence[str], plan: Plan | None) -> int:
    """What the named weights take as the plan's schemes store them, and in float32 where it has none."""
    schemes = plan.resolve(core) if plan else {}
    weights = {name: core.get_parameter(name).detach() for name in names}
    return sum(
        schemes[name].pack(weight).nbytes if name in schemes else weight.nbytes
        for name, weight in weights.items()
    )


def at_random(plan: Plan, seed: int) -> Plan:
    """The same schemes with masks that the seed draws."""
    return Plan(tuple(Rule(rule.pattern, AtRandom(rule.scheme, seed)) for rule in plan.rules if rule.scheme))


def trial(
    kept: Store,
    subject: Subject,
    name: str,
    scheme: Callable[[Shape], Scheme] | None,
    seed: int,
    random: bool = False,
    precision: str = "float32",
    fine_tuning: FineTuning | None = None,
) -> Trial:
    """The subject pruned into a scheme (at random on demand), compiled and judged, unless it is there already."""
    plan = None
    if scheme is not None:
        exact = plan_of(subject.core, subject.names, scheme)
        plan = Plan(tuple(Rule(f"*{rule.pattern}", rule.scheme) for rule in exact.rules))
    label = f"layerwise-{subject.kind}-{name}-{seed}".replace(" ", "_")
    tuned_on = fine_tuning.about if fine_tuning else 0
    settings = (
        subject.about,
        subject.example[0].shape,
        plan,
        seed,
        random,
        subject.passes,
        subject.fitted,
        tuned_on,
    )

    def prune(core: nn.Module) -> None:
        torch.manual_seed(seed)  # which batches are seen, whatever was pruned before
        if plan is not None:
            wanted = at_random(plan, seed) if random else plan
            begin(Reconstruction(subject.data.train, subject.passes), subject.listen(core), wanted).finish()
        if fine_tuning:
            fine_tuning.run(subject.listen(core), subject.listen(subject.core), plan)

    def make() -> tuple[dict[str, Any], NativeDeployment]:
        core = kept.checkpoint(label, settings, copy.deepcopy(subject.core), prune)
        data = subject.calibration() if precision == "int8" else None
        deployment = compile_network(
            core.eval(), subject.example, plan, precision=precision, calibration=data
        )
        right = right_answers(subject.listen(deployment), subject.data.held_out)
        return {
            "kind": subject.kind,
            "scheme": name,
            "seed": seed,
            "precision": precision,
            "density": realised_density(core, subject.names),
            "packed_bytes": packed_bytes(core, subject.names, plan),
            "test": right.count("1") / len(right),
            "right": right,
            "weight_bytes": deployment.manifest.weight_bytes,
        }, deployment

    return kept.trial(label, (settings, precision), make)
