"""Measuring: interleaved time beside the peers, accuracy, and the machine it was done on."""

from spokeshave.measure.accuracy import Accuracy, evaluate
from spokeshave.measure.interleave import Clock, InterleavedRun, Progress, Ratio, Timing, interleave
from spokeshave.measure.machine import Machine, describe_machine
from spokeshave.measure.peers import PEERS, Absent, Peer, dense_peers, relative_error
from spokeshave.measure.side_by_side import Comparison, Row, side_by_side
from spokeshave.processor import limited_threads

__all__ = [
    "PEERS",
    "Absent",
    "Accuracy",
    "Clock",
    "Comparison",
    "InterleavedRun",
    "Machine",
    "Peer",
    "Progress",
    "Ratio",
    "Row",
    "Timing",
    "dense_peers",
    "describe_machine",
    "evaluate",
    "interleave",
    "limited_threads",
    "relative_error",
    "side_by_side",
]
