"""What is lost beside the dense network on the same test samples: every second one chooses, the others judge."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev


def losses(dense: Sequence[str], pruned: Sequence[str]) -> dict[str, float]:
    """Accuracy lost, mean over seeds, on the samples that choose and on those that judge, and the latter's error.

    Of every seed there is a string with a 1 for each sample that was given its own label. The error is the standard
    error of the paired difference within one seed: seeds share samples, so that their mean is no surer for being one.

    >>> losses(["1111"], ["1110"])
    {'choosing': 0.0, 'judging': 0.5, 'error': 0.5}
    """
    gaps = [
        [int(one) - int(other) for one, other in zip(*both, strict=True)]
        for both in zip(dense, pruned, strict=True)
    ]
    judging = [gap[1::2] for gap in gaps]
    return {
        "choosing": fmean(fmean(gap[::2]) for gap in gaps),
        "judging": fmean(map(fmean, judging)),
        "error": fmean(stdev(gap) / sqrt(len(gap)) for gap in judging),
    }
