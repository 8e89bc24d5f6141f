"""How many bits of its inputs a fragment needs: leading planes that are zero for all its word lines are skipped."""

import torch
import torch.nn.functional as F
from torch import Tensor


def effective_cycles(x: Tensor, rows_at_once: int, lines: Tensor | None = None) -> Tensor:
    """Input bits that each fragment needs for each vector, `[vectors, inputs]` -> `[vectors, fragments]`.

    The position of the highest bit that is 1 in any of the fragment's inputs, from 1; 0 where all are 0 (FORMS, arXiv
    2106.09144: effective input cycles).

    >>> effective_cycles(torch.tensor([[1, 4, 0, 0]]), 2).tolist()
    [[3, 0]]
    """
    x = x.int() if lines is None else x[:, lines].int()
    largest = F.pad(x, (0, -x.shape[1] % rows_at_once)).view(len(x), -1, rows_at_once).amax(2)
    return torch.frexp(largest.double()).exponent
