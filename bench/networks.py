"""Whole networks beside every peer, one interleaved run a network and number of threads -> bench/results/networks.json.

    python -m bench.networks                       # all of them, each contest in a process of its own
    python -m bench.networks resnet50 --threads 1 --rounds 9
    python -m bench.networks resnet50 --prepare    # make what is slow to make, time nothing
    python -m bench.networks gru_2x1024 --heat compressions --peer eager onnxruntime --output /tmp/one.json
    python -m bench.networks gru_2x1024 --batch 8 --output bench/results/batches.json

Weights are random and pruned in one shot: these tables say what a plan is worth in time, nothing about accuracy.
"""

import sys

from bench.catalogue import CASES
from bench.command import main

if __name__ == "__main__":
    sys.exit(main("networks", __doc__, CASES))
