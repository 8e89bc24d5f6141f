"""Benchmarks: one command each, run from the root as `python -m bench.NAME`."""
