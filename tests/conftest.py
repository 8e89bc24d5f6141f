"""Settings of the whole suite."""

import os

import pytest
import torch
from hypothesis import settings

# The same examples in every run: a red run means a changed program. HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores,
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # and so do the processes that tests start


def pytest_collectstart() -> None:
    """Networks that a module of tests makes on import are the same, whichever modules came before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Every test begins at the same place of PyTorch's generator, whatever ran before it."""
    torch.manual_seed(0)
