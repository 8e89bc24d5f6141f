"""CSB-RNN's networks in whole numbers, as units that multiply integers compute them, gates and states included."""

from collections.abc import Mapping
from typing import Any

from papers.deployments import Trial
from papers.masks import Steps
from papers.record import Finding, verdict
from papers.speech import frame_accuracy
from papers.speech_trials import Study, Subject, judged
from papers.trials import spread, within
from spokeshave.compiler.integers import IntegerDeployment
from spokeshave.compiler.operations import WholeRecurrent
from spokeshave.devices import load_device

DEVICES = ("integers-multiplier", "integers-shift")
CALIBRATED = 256  # chunks of held-back speech that say which ranges levels span
FREE = 0.005  # of the frames: half a point


def in_integers(setting: Study, subject: Subject, label: str, steps: Steps) -> list[dict[str, Any]]:
    """What the networks of every seed get on every such device."""
    return [
        _trial(setting, subject, label, steps, seed, name).record
        for name in DEVICES
        for seed in setting.seeds
    ]


def _trial(setting: Study, subject: Subject, label: str, steps: Steps, seed: int, name: str) -> Trial:
    device, speech = load_device(name), setting.speech

    def make() -> tuple[dict[str, Any], IntegerDeployment]:
        network = setting.network(subject, label, steps, seed)
        calibration = [speech.held_back.inputs[:CALIBRATED]]
        deployment = device.deploy(network, speech.example, None, calibration)  # it multiplies with zeros too
        assert isinstance(deployment, IntegerDeployment)
        return {
            "scheme": name,
            "seed": seed,
            "test": frame_accuracy(deployment, speech.test),
            "whole_layers": sum(isinstance(one.operation, WholeRecurrent) for one in deployment.graph.nodes),
            "floats": len(deployment.manifest.floats),
            "accumulator_bits": max(entry.bits for entry in deployment.manifest.accumulators),
        }, deployment

    settings = setting.settings(subject, setting.plans(subject, steps), False, seed), CALIBRATED
    return setting.store.trial(f"{subject.kind}-{label}-{name}-{seed}".replace(" ", "_"), settings, make)


def judgement(subject: Subject, label: str, found: Mapping[str, Any]) -> Finding:
    """Whether the networks lose nothing in whole numbers."""
    whole, in_float = found["integers"], judged(found["trials"], "test")[label]
    test = judged(whole, "test")
    computed = all(one["whole_layers"] == subject.layers and not one["floats"] for one in whole)
    return Finding(
        f"{subject.kind.upper()}: {label} loses nothing where no step holds a floating-point number",
        "",
        f"frame accuracy: float32 {spread(in_float)}, "
        + ", ".join(f"{name} {spread(values)}" for name, values in test.items()),
        verdict(computed and all(within(values, in_float, FREE) for values in test.values())),
        f"8-bit weights and inputs, sums of at most {max(one['accumulator_bits'] for one in whole)} bits, "
        "states of 16, gates by tables; nothing: less than half a point, by the paired test",
    )
