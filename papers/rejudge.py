"""Judge again what the checks' results have on record, without training: after the rule of verdicts has changed.

    python -m papers.rejudge

Each result keeps its figures, date and code; findings whose verdict or note comes out otherwise, or whether they are a
control of ours, are written anew, and `judged` says when and by which code.
A check that keeps too little to be judged again is not among `CHECKS`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

from bench import records
from papers import (
    auto_vit_acc,
    clicktrain,
    csb_rnn,
    darb,
    darb_images,
    data_lottery_ticket,
    forms,
    fpga_vs_mobile,
    grim,
    heatvit,
    heatvit_trials,
    joint_quantization,
    lpvit,
    lpvit_deit,
    lpvit_latency,
    lpvit_sweeps,
    moe_pruner,
    opq,
    opq_optimum,
    opq_thresholds,
    prune_and_finetune,
    rtmobile,
    rtmobile_digits,
    rtmobile_speed,
    spvit,
    spvit_deit,
    spvit_latency,
    superbnn,
    tri_level_e_vit,
)
from papers.layerwise import Subject
from papers.record import HERE, Finding, take_no_arguments

Data = dict[str, Any]


def _auto_vit_acc(data: Data) -> list[Finding]:
    largest, records = auto_vit_acc.NETWORKS[-1], data["trials"]
    mixed = auto_vit_acc.together(data["designs"][largest], records, largest)
    return [auto_vit_acc.precision(records), mixed]


def _csb_rnn(data: Data) -> list[Finding]:
    return [
        finding
        for subject in csb_rnn.SUBJECTS
        for finding in csb_rnn.judgements(subject, data[f"{subject.kind}, {subject.hidden} units"])
    ]


def _grim(data: Data) -> list[Finding]:
    found: list[Finding] = []
    for about, each in data.items():
        subject = SimpleNamespace(kind="CNN" if "ResNet" in about else "GRU", about=about)
        found += grim.judgements(cast(Subject, subject), each)
    return found


def _spvit(data: Data) -> list[Finding]:
    return [
        one
        for name, each in data["trials"].items()
        for one in spvit.findings(name, each, spvit.REASONS[name])
    ]


def _superbnn(data: Data) -> list[Finding]:
    zones = {size: superbnn.best_zone(data["zones"][str(size)]) for size in superbnn.SIZES}
    return superbnn.accuracy_findings(data["rows"], zones)


CHECKS: dict[str, Sequence[Callable[[Data], Sequence[Finding]]]] = {
    "auto_vit_acc": [_auto_vit_acc],
    "clicktrain": [lambda data: clicktrain.findings(data["trials"], data["times"])],
    "csb_rnn": [_csb_rnn],
    "darb": [
        lambda data: darb.findings(data, darb.LENGTHS),
        lambda data: darb_images.findings(data["images"]["trials"], data["images"]["times"]),
    ],
    "data_lottery_ticket": [lambda data: list(data_lottery_ticket.findings(data["records"]))],
    "forms": [lambda data: forms.polarizing(data["lenet"])],
    "fpga_vs_mobile": [
        lambda data: [fpga_vs_mobile.accuracy(name, rows) for name, rows in data["measured"].items()]
    ],
    "grim": [_grim],
    "heatvit": [
        lambda data: heatvit.training(data["exact"], data["untrained"], data["trained"]),
        lambda data: heatvit_trials.findings(data["whole"], data["milliseconds"], data["engine"]),
    ],
    "joint_quantization": [
        lambda data: joint_quantization.findings(
            data["rows"], data["float32"], data["detector"], data["energy"]
        )
    ],
    "lpvit": [
        lambda data: [
            *lpvit.findings(data["trials"], lpvit.why_not(data["agreement"])),
            lpvit.faster(data["compiled"]),
        ],
        lambda data: lpvit_latency.findings(data["latency"]["trials"]),
        lambda data: lpvit_deit.all_findings(data["deit_tiny"]["trials"], data["deit_tiny"]["compiled"]),
        lambda data: lpvit_sweeps.findings(data["sweeps"], data["sweeps"]["microseconds"]),
    ],
    "moe_pruner": [lambda data: moe_pruner.findings(data["records"])],
    "opq": [
        lambda data: opq.findings(data["rows"], data["compiled"], data["allocation_seconds"]),
        lambda data: opq.after_tuning(data["fine_tuned"]),
        lambda data: opq_optimum.findings(data["optimum"]["errors"]),
        lambda data: opq_thresholds.findings(data["thresholds"]["rows"]),
    ],
    "prune_and_finetune": [lambda data: prune_and_finetune.findings(data["records"])],
    "rtmobile": [
        rtmobile.findings,
        lambda data: rtmobile_digits.findings(data["digits"]["trials"]),
        lambda data: rtmobile_speed.findings(data["full_size"]),
    ],
    "spvit": [
        _spvit,
        lambda data: spvit_latency.findings(data["latency"]),
        lambda data: spvit_deit.judgements(data["deit_tiny"]["tasks"]),
    ],
    "tri_level_e_vit": [lambda data: list(tri_level_e_vit.findings(data["records"]))],
    "superbnn": [_superbnn],
}


def rejudged(document: Data, judges: Sequence[Callable[[Data], Sequence[Finding]]]) -> tuple[Data, list[str]]:
    """The result with today's verdicts, and the claims whose verdict is another one; figures stay as measured."""
    found = {one.claim: _judgement(asdict(one)) for judge in judges for one in judge(document["data"])}
    unknown = set(found) - {one["claim"] for one in document["findings"]}
    if unknown:
        raise ValueError(f"{document['name']}: not in its result, run the check again: {sorted(unknown)}")
    findings = [one | found.get(one["claim"], {}) for one in document["findings"]]
    changed = [
        f"{new['claim']}: {new['verdict']}"
        for old, new in zip(document["findings"], findings, strict=True)
        if old["verdict"] != new["verdict"]
    ]
    return document | {"findings": findings}, changed


def _judgement(finding: dict[str, Any]) -> dict[str, Any]:
    return {key: finding[key] for key in ("verdict", "note", "control")}


def main() -> int:
    """Every result that can be judged again."""
    take_no_arguments(__doc__)
    for name, judges in CHECKS.items():
        path = HERE / "results" / f"{name}.json"
        before = json.loads(path.read_text())
        after, changed = rejudged(before, judges)
        print(f"{name}: {'; '.join(changed) or 'the same verdicts'}")
        if after != before:
            judged = {"date": records.now(), "git_revision": records.git_revision()}
            records.write(path, after | {"judged": judged})
    return 0


if __name__ == "__main__":
    sys.exit(main())
