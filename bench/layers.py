"""Chains of equal layers beside every peer, dense and sparse -> bench/results/layers.json.

    python -m bench.layers
    python -m bench.layers conv3x3_256_14 --threads 1

Besides the contenders of `bench.networks`: our code on weights without structure, and sparse matrix products.
"""

import sys

from bench import sparse_products
from bench.chains import CHAINS
from bench.command import main
from bench.contest import Contender, own_contender
from bench.trial import UNSTRUCTURED_COMPRESSION, Unstructured


def extra(sparse: Unstructured, threads: int) -> list[Contender]:
    """Ours and compressed-sparse-row products on the chain that was pruned without structure."""
    ours = own_contender(sparse.own(), sparse.inputs, threads, "spokeshave, unstructured")
    pairs = sparse_products.products(sparse.network, sparse.workload)
    return [ours, *sparse_products.contenders(pairs, UNSTRUCTURED_COMPRESSION)]


if __name__ == "__main__":
    sys.exit(main("layers", __doc__, CHAINS, extra))
