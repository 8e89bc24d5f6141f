"""Inputs that are nested: tuples, lists and dictionaries of tensors, and the caches of past keys of `transformers`."""

from copy import copy
from dataclasses import replace
from typing import Any

from torch.export import ExportedProgram
from torch.utils._pytree import TreeSpec, tree_flatten, treespec_leaf

CACHES = "transformers.cache_utils"


def flattened(inputs: Any) -> tuple[tuple[Any, ...], TreeSpec]:
    """The leaves of nested inputs in order, and how they were nested.

    A cache's keys, layer by layer, come before its values.

    >>> flattened((1, {"a": [2, 3]}))[0]
    (1, 2, 3)
    """
    leaves, nesting = tree_flatten(inputs)
    if any(type(leaf).__module__ == CACHES for leaf in leaves):
        know_caches()
        leaves, nesting = tree_flatten(inputs)
    return tuple(leaves), nesting


def know_caches() -> None:
    """Let PyTorch take caches apart and put them together; `transformers` says how."""
    from transformers.integrations.executorch import register_dynamic_cache_export_support

    register_dynamic_cache_export_support()


def without_caches(nesting: TreeSpec) -> TreeSpec:
    """The same nesting, with a tuple of its parts in place of every cache."""
    if nesting.is_leaf():
        return nesting
    parts = [without_caches(child) for child in nesting.children()]
    return (
        TreeSpec(tuple, None, parts) if _is_cache(nesting) else TreeSpec(nesting.type, nesting.context, parts)
    )


def lie_in_caches(nesting: TreeSpec) -> list[bool]:
    """Which of the leaves are parts of a cache."""
    if nesting.is_leaf():
        return [False]
    cached = _is_cache(nesting)
    return [cached or inner for child in nesting.children() for inner in lie_in_caches(child)]


def _is_cache(nesting: TreeSpec) -> bool:
    return getattr(nesting.type, "__module__", None) == CACHES


def plainly_nested(program: ExportedProgram) -> ExportedProgram:
    """The same program with flat inputs, and with tuples in place of caches among its outputs.

    PyTorch decomposes a program by running it, and cannot where a cache would have to be made on the way.
    """
    first, *others = program.module_call_graph
    signature = first.signature
    if signature is None or "Cache" not in f"{signature.in_spec}{signature.out_spec}":
        return program
    leaves = TreeSpec(tuple, None, [treespec_leaf()] * signature.in_spec.num_leaves)
    plain = copy(program)
    plain._example_inputs = (flattened(program.example_inputs)[0], {})
    signature = replace(
        signature,
        in_spec=TreeSpec(tuple, None, [leaves, TreeSpec(dict, [], [])]),
        out_spec=without_caches(signature.out_spec),
        forward_arg_names=list(program.graph_signature.user_inputs),
    )
    plain._module_call_graph = [replace(first, signature=signature), *others]
    return plain
