"""Progressive pruning: the largest rate at which nothing is lost, step by step (CSB-RNN, arXiv 2005.05758)."""

from collections.abc import Callable


def largest_rate(lossless: Callable[[float], bool], first: float, step: float, most: float = 64.0) -> float:
    """The rate that the search ends at: it rises by a step while nothing is lost, and falls by half a step otherwise.

    It ends where nothing is lost and the step is a quarter of what it was, where steps would be smaller than that, or
    at `most`. A rate of 1 is the dense network, which loses nothing. `lossless` is asked once for a rate.

    >>> largest_rate(lambda rate: rate <= 6.7, first=4.0, step=4.0)
    6.0
    >>> largest_rate(lambda rate: False, first=4.0, step=4.0)
    1.0
    """
    judged, rate, least = {1.0: True}, first, step / 4
    while True:
        if rate not in judged:
            judged[rate] = lossless(rate)
        if judged[rate] and (step <= least or rate >= most):
            return rate
        if judged[rate]:
            rate = min(most, rate + step)
            continue
        step /= 2
        if step < least:
            return max(each for each, nothing_lost in judged.items() if nothing_lost)
        rate = max(1.0, rate - step)
