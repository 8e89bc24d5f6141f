"""The one place where a network is exported: `torch.export` with one sample, in evaluation mode."""

import inspect
import logging
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._pytree import TreeSpec, tree_unflatten

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.nesting import CACHES, flattened, know_caches


def export_network(
    network: nn.Module | ExportedProgram, example: Tensor | tuple[Any, ...], axes: Sequence[int] | None = None
) -> ExportedProgram:
    """Export a network for one sample, `example[:1]` of every input, in evaluation mode; weights are shared.

    Inputs may be nested: tuples, lists and dictionaries of tensors, caches of past keys. `axes` are their batch axes,
    where those are not the first.

    An exported program is taken as it is when it was made for one sample, and exported again when its batch
    is free. The modules' training flags are put back afterwards. Raises SpokeshaveError with the reason and
    the line of the user's code when the network cannot be exported.

    >>> program = export_network(nn.Linear(4, 2), torch.zeros(5, 4))
    >>> [tuple(node.meta["val"].shape) for node in program.graph.nodes if node.op == "call_function"]
    [(1, 2)]
    """
    if CACHES in sys.modules:  # the network may return one
        know_caches()
    check_exportable(network)
    inputs = one_sample(example, axes)
    if isinstance(network, ExportedProgram):
        return network if _takes(network, inputs) else _again(network, inputs)
    _check_count(network, inputs)
    check_weights(network)
    with evaluating(network), _experts_in_products(network), torch.no_grad(), _quietly():
        try:
            return torch.export.export(network, inputs, strict=False)
        except Exception as error:  # whatever the user's code raises ends here
            raise SpokeshaveError(f"the network cannot be exported: {_reason(error, network)}") from error


def check_exportable(network: object) -> None:
    """Raise SpokeshaveError unless this is a network, or an exported one."""
    right = "a torch.nn.Module or an exported program"
    check_kind("the network", network, (nn.Module, ExportedProgram), right)


def check_weights(network: nn.Module) -> None:
    """Raise SpokeshaveError for the first parameter with NaN; infinite ones may be masks."""
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.numel():
            least, _ = torch.aminmax(parameter.detach())  # NaN wherever one is
            if bool(least.isnan()):
                raise SpokeshaveError(f"{name} holds NaN; train the network again, or load its weights")


def flattened_example(example: Tensor | tuple[Any, ...]) -> tuple[tuple[Any, ...], TreeSpec]:
    """The leaves of an example's inputs, one or several, and how they are nested; raises SpokeshaveError for others.

    >>> len(flattened_example(torch.zeros(5, 4))[0])
    1
    """
    right = "a batch of inputs: a tensor, or a tuple with one for each input"
    check_kind("the example", example, (Tensor, tuple, list), right)
    return flattened((example,) if isinstance(example, Tensor) else tuple(example))


def one_sample(example: Tensor | tuple[Any, ...], axes: Sequence[int] | None = None) -> tuple[Any, ...]:
    """The first sample of every input, with its batch axis (the first unless told), nested as the inputs are."""
    leaves, nesting = flattened_example(example)
    for position, tensor in enumerate(leaves):
        if not isinstance(tensor, Tensor) or tensor.dim() == 0 or tensor.shape[0] == 0:
            found = (
                f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
            )
            raise SpokeshaveError(
                f"input {position} of the example must be a batch of tensors, but it is {found}"
            )
    cut = [tensor.narrow(axis, 0, 1) for tensor, axis in zip(leaves, axes or [0] * len(leaves), strict=True)]
    inputs: tuple[Any, ...] = tree_unflatten(cut, nesting)
    return inputs


def _check_count(network: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Raise SpokeshaveError when `forward` cannot be called with this many inputs."""
    forward = inspect.signature(network.forward)
    try:
        forward.bind(*inputs)
    except TypeError as error:
        shapes = _shapes(inputs)
        raise SpokeshaveError(
            f"{type(network).__name__} takes {forward}, but the example is {len(inputs)} inputs of shape {shapes}"
        ) from error


def _shapes(inputs: tuple[Any, ...]) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in flattened(inputs)[0])


def _takes(program: ExportedProgram, inputs: tuple[Any, ...]) -> bool:
    """Whether a program was exported for exactly these shapes."""
    user_inputs = {
        spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT
    }
    placeholders = [
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in user_inputs
    ]
    return [tuple(node.meta["val"].shape) for node in placeholders] == [
        tuple(tensor.shape) for tensor in flattened(inputs)[0]
    ]


def _again(program: ExportedProgram, inputs: tuple[Any, ...]) -> ExportedProgram:
    with _quietly():
        try:
            return torch.export.export(program.module(), inputs, strict=False)
        except Exception as error:
            raise SpokeshaveError(
                f"the exported program does not take inputs of shape {_shapes(inputs)} ({_first_sentence(error)}); "
                "export it with one sample, or with a dynamic batch"
            ) from error


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; every module's own mode comes back."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _experts_in_products(network: nn.Module) -> Iterator[None]:
    """Let mixtures of experts of `transformers` be written as products of tokens with the matrices that they choose.

    Their other forms are a loop that depends on the data, which cannot be exported, and an operator of their own.
    """
    can_be_set = "_can_set_experts_implementation"
    modules: Iterator[Any] = network.modules()
    mixtures = [module for module in modules if getattr(module, can_be_set, lambda: False)()]
    before = [(mixture, mixture.get_experts_implementation()) for mixture in mixtures]
    for mixture in mixtures:
        mixture.set_experts_implementation("batched_mm")
    try:
        yield
    finally:
        for mixture, implementation in before:
            mixture.set_experts_implementation(implementation)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence torch's logs, warnings and dumps of graphs: a failure is told in one sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: Exception, network: nn.Module) -> str:
    """The error's first sentence and where in the user's code, or in which layer, it came up."""
    return f"{_first_sentence(error)} ({_place(error.__traceback__, network)})"


def _first_sentence(error: Exception) -> str:
    if isinstance(error, GuardOnDataDependentSymNode):
        return "what it does next depends on the values in a tensor"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _place(trace: TracebackType | None, network: nn.Module) -> str:
    frames = [frame for frame in traceback.extract_tb(trace) if _is_user_code(frame.filename)]
    layer = _innermost_layer(trace, network)
    where = f"in layer {layer!r}" if layer else f"in the forward of {type(network).__name__}"
    return f"{where}, {frames[-1].filename}:{frames[-1].lineno}" if frames else where


def _is_user_code(filename: str) -> bool:
    libraries = (
        Path(torch.__file__).parent,
        Path(__file__),
        Path(sysconfig.get_path("stdlib")) / "contextlib.py",
    )
    return not filename.startswith(("<", *map(str, libraries)))


def _innermost_layer(trace: TracebackType | None, network: nn.Module) -> str:
    names = {id(module): name for name, module in network.named_modules()}
    found = ""
    for frame, _ in traceback.walk_tb(trace):
        found = names.get(id(frame.f_locals.get("self"))) or found
    return found
