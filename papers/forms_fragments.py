"""FORMS (arXiv 2106.09144) at fragments of 16 rows: what they cost ResNet-20, beside what they are worth by area.

`python -m papers.forms_fragments` puts what it finds into papers/results/forms.json, beside what `forms.py` found.
"""

import json
import sys
from functools import partial
from typing import Any

from papers.forms_trials import (
    FORMS,
    OPTIMISED,
    ORDER,
    POLARIZED,
    WHOLE,
    WIDER,
    chips,
    polarized_resnet,
)
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.trials import remembered

FRAGMENT = 16
BEGINS = "fragments of 16: "
RESULT = HERE / "results" / "forms.json"


def accuracy(by_8: dict[str, Any], by_16: dict[str, Any]) -> Finding:
    """What fragments of 16 cost beside fragments of 8."""
    told = [_told(size, one) for size, one in ((8, by_8), (FRAGMENT, by_16))]
    return Finding(
        f"{BEGINS}ResNet-20 within three points of the dense network, read by converters of 4 bits",
        "polarization alone does no harm",
        f"dense {by_16['dense']:.1%}; {'; '.join(told)}",
        verdict(by_16["dense"] - by_16["forms"]["converters"] <= 0.03),
        f"{WHOLE.judged:,} images of CIFAR-10, {WHOLE.on_crossbars:,} on crossbars, the same schedule for both; "
        "converters of 4 bits cut sums above 15 off",
    )


def _told(fragment: int, one: dict[str, Any]) -> str:
    on = one["forms"]
    varied = sum(on["varied"]) / len(on["varied"])
    return (
        f"by {fragment}: fitted {one[ORDER]['fitted']:.1%}, retrained {one['polarized']:.1%}, on crossbars without "
        f"cut sums {on['whole numbers']:.1%}, with 4 bits {on['converters']:.1%}, with variation {varied:.1%}"
    )


def worth(modelled: dict[str, Any], network: str) -> Finding:
    """Throughput by area with the input bits that fragments of 16 need."""
    steps = {name: found["per_mm2"] for name, found in modelled[network].items()}
    whole = steps[WIDER] / steps[OPTIMISED]
    return Finding(
        f"{BEGINS}{network}: FORMS against optimised ISAAC by area, at the bits that such fragments need",
        "1.50x GOPs/(s mm2)",
        f"polarized fragments of 8 {steps[POLARIZED] / steps[OPTIMISED]:.2f}x, their zero bits skipped "
        f"{steps[FORMS] / steps[POLARIZED]:.2f}x, fragments of 16 instead {steps[WIDER] / steps[FORMS]:.2f}x: "
        f"together {whole:.2f}x (modelled)",
        verdict(whole > 1),
        "15.2 ns a fragment: 128 columns by the four converters of 2.1 GS/s that the paper's brief notes; fragments of "
        "16 are half as many",
    )


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    by_16 = remembered("forms/resnet-16", partial(polarized_resnet, FRAGMENT, WHOLE))
    by_8 = json.loads(RESULT.read_text())["data"]["resnet"]
    modelled = chips(by_8["bits"]["by_layer"], by_16["bits"]["by_layer"])
    findings = [accuracy(by_8, by_16), *(worth(modelled, network) for network in modelled)]
    add(RESULT, BEGINS, findings, "fragments of 16", {"resnet": by_16, "chips": modelled})
    return 0


if __name__ == "__main__":
    sys.exit(main())
