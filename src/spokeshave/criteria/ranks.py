"""What several processes that train one network agree on."""

import torch.distributed as distributed
from torch import Tensor


def mean_over_ranks(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """By name: the mean over all processes, on all of them; what was given where there is one process.

    What each process finds on its own data then removes the same weights everywhere.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return found
    for tensor in found.values():
        distributed.all_reduce(tensor)
        tensor /= distributed.get_world_size()
    return found
