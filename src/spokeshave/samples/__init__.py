"""Less data while a network is trained: fewer examples, fewer links of attention, fewer patches."""

from spokeshave.samples.loading import Indexed, PrunedBatches
from spokeshave.samples.pruning import ExamplePruning
from spokeshave.samples.sampler import ExampleSampler

__all__ = ["ExamplePruning", "ExampleSampler", "Indexed", "PrunedBatches"]
