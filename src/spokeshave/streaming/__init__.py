"""Networks too large for memory, pruned from one checkpoint on disk to another."""

from spokeshave.streaming.calibration import sequences_of, tokenized
from spokeshave.streaming.run import prune_experts
from spokeshave.streaming.settings import ExpertPruning

__all__ = ["ExpertPruning", "prune_experts", "sequences_of", "tokenized"]
