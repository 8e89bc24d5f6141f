"""A plan as YAML, every mistake in it told with file, line and key."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.registry import scheme_from_dict, scheme_to_dict
from spokeshave.schemes.scheme import Scheme

VERSION = 1
DENSE = "dense"
EXAMPLE = "{scheme: block_column_row, sparsity: 0.9}"

Entries = tuple[tuple[str, Scheme | None], ...]  # (pattern, scheme), None for dense


def parse(text: str, source: str) -> Entries:
    """The rules of a plan in order; raises SpokeshaveError with `source`, line and key."""
    return _Reader(source).rules(text)


def render(rules: Entries) -> str:
    """The text that `parse` reads.

    >>> print(render((("head", None),)), end="")
    version: 1
    layers:
      "head": dense
    """
    lines = [f"  {json.dumps(pattern, ensure_ascii=False)}: {_flow(scheme)}\n" for pattern, scheme in rules]
    return f"version: {VERSION}\nlayers:{'' if rules else ' {}'}\n{''.join(lines)}"


def _flow(scheme: Scheme | None) -> str:
    if scheme is None:
        return DENSE
    return yaml.safe_dump(
        scheme_to_dict(scheme), default_flow_style=True, sort_keys=False, width=float("inf")
    ).strip()


class _Reader:
    """Walks the node tree rather than plain values, because nodes know their lines."""

    def __init__(self, source: str) -> None:
        self.source = source

    def rules(self, text: str) -> Entries:
        top = dict(self.entries(self.root(text), "the plan"))
        for key, (node, _) in top.items():
            if key not in ("version", "layers"):
                raise self.error(node, f"unknown key {key!r}; a plan has the keys version and layers")
        for key in ("version", "layers"):
            if key not in top:
                raise SpokeshaveError(f"{self.source}: the key {key!r} is missing")
        version = top["version"][1]
        if version.value != str(VERSION):
            raise self.error(version, f"version: must be {VERSION}")
        layers = self.entries(top["layers"][1], "layers")
        return tuple((pattern, self.scheme(pattern, value)) for pattern, (_, value) in layers)

    def root(self, text: str) -> yaml.Node:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise SpokeshaveError(f"{self.source}{line}: not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise SpokeshaveError(f"{self.source}: not YAML: {str(error).splitlines()[0]}") from error
        if root is None:
            raise SpokeshaveError(f"{self.source} is empty; a plan has the keys version and layers")
        return root

    def entries(self, node: yaml.Node, what: str) -> Iterator[tuple[str, tuple[yaml.Node, yaml.Node]]]:
        """(key, (key's node, value's node)) of a mapping, each key once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be a mapping of names to values")
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, f"a key of {what} must be a plain name")
            if key.value in seen:
                raise self.error(key, f"{key.value!r} appears twice in {what}")
            seen.add(key.value)
            yield key.value, (key, value)

    def scheme(self, pattern: str, node: yaml.Node) -> Scheme | None:
        if isinstance(node, yaml.ScalarNode) and node.value == DENSE:
            return None
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f'layers."{pattern}" must be dense or a scheme such as {EXAMPLE}')
        fields = [key for key, _ in self.entries(node, f'layers."{pattern}"')]
        if "scheme" not in fields:
            raise self.error(node, f'layers."{pattern}" names no scheme; write it like {EXAMPLE}')
        try:
            return scheme_from_dict(_plain(node))
        except SpokeshaveError as error:
            raise self.error(node, f'layers."{pattern}": {error}') from error
        except yaml.YAMLError as error:
            raise self.error(node, f'layers."{pattern}": a value is not plain YAML') from error

    def error(self, node: yaml.Node, sentence: str) -> SpokeshaveError:
        return SpokeshaveError(f"{self.source}, line {node.start_mark.line + 1}: {sentence}")


def _plain(node: yaml.Node) -> Any:
    return yaml.constructor.SafeConstructor().construct_document(node)
