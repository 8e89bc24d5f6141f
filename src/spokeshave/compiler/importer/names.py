"""Names of layers, as the user knows them from `named_modules()`."""

import re
from collections.abc import Iterable

from torch import fx


def layer_name(node: fx.Node, parameters: Iterable[str] = ()) -> str:
    """Qualified name of the module that an operator came from, else the operator's own name.

    `parameters` are those it reads: where one belongs to a submodule that was never called (as the output projection
    of an attention module), the operator is that submodule's.
    """
    stack = node.meta.get("nn_module_stack") or {}
    module = next((path for path, _ in reversed(stack.values()) if path), "")
    owners = [parameter.rpartition(".")[0] for parameter in parameters]
    owner = next((owner for owner in owners if owner.startswith(f"{module}." if module else "")), "")
    return plain_path(owner or module) or node.name


def plain_path(path: str) -> str:
    """A module's path without what `torch.export` and parametrizations add.

    >>> plain_path("stage.0@1.conv.parametrizations.weight.0")
    'stage.0.conv'
    """
    return re.sub(r"@\d+", "", path).split(".parametrizations")[0]
