"""Fewer tokens in a transformer: which stay, and what becomes of the rest; trained masked, run gathered."""

from spokeshave.tokens.calibrate import calibrate_thresholds
from spokeshave.tokens.decisions import Gumbel, Threshold, TopK
from spokeshave.tokens.insert import Inserted, insert, inserted_in
from spokeshave.tokens.reducer import TokenReducer
from spokeshave.tokens.rest import Drop, Freeze, Package, Zero
from spokeshave.tokens.scorers import CLSAttention, Given, Learned, Random, ReceivedAttention

__all__ = [
    "CLSAttention",
    "Drop",
    "Freeze",
    "Given",
    "Gumbel",
    "Inserted",
    "Learned",
    "Package",
    "Random",
    "ReceivedAttention",
    "Threshold",
    "TokenReducer",
    "TopK",
    "Zero",
    "calibrate_thresholds",
    "insert",
    "inserted_in",
]
