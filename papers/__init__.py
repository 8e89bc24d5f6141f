"""One script per published system: it composes the library's rooms, runs its check, prints claim beside measurement.

`python -m papers.opq` from the repository's folder, or `spokeshave papers run opq`.
"""
