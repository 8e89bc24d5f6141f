"""Whole networks in integers: what hardware without floating-point numbers computes, bit for bit."""

from spokeshave.compiler.integers.settings import IntegerForm

__all__ = ["IntegerForm"]
