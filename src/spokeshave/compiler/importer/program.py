"""Exported program -> graph."""

import operator
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind

from spokeshave.batch import BatchAxes
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer.context import Call, Context
from spokeshave.compiler.importer.foreign import add_foreign, materialised
from spokeshave.compiler.importer.names import layer_name, plain_path
from spokeshave.compiler.importer.operands import (
    Flow,
    NotTypedError,
    Operand,
    Selected,
    Weight,
    dtype_name,
    with_sample_axis,
)
from spokeshave.compiler.importer.structure import TENSOR, OutputStructure, Place, structure_of
from spokeshave.compiler.importer.table import ANY_TYPE, OPERATORS
from spokeshave.compiler.operations import Foreign
from spokeshave.errors import SpokeshaveError
from spokeshave.nesting import plainly_nested

RANDOM = torch.Tag.nondeterministic_seeded
NAMESPACES = ("aten", "spokeshave")
READ_SHAPES_ONLY = frozenset({"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"})


@dataclass(frozen=True)
class Imported:
    """A graph and how its outputs are nested."""

    graph: Graph
    structure: OutputStructure


def import_program(program: ExportedProgram, axes: BatchAxes | None = None) -> Imported:
    """Import a program that was exported for one sample, its batch along `axes` (in front unless told).

    Weights keep their qualified names and are shared with the program; what is computed from weights alone is
    computed now. A program is decomposed only where that may help, since PyTorch takes a second for it: where an
    operator changes its arguments or has no typed operation. What has none even then becomes `Foreign`. Raises
    SpokeshaveError for operators that are not PyTorch's own, and for networks that change their buffers when they run.
    """
    program = plainly_nested(program)
    if _is_functional(program):
        imported = _read(program, axes)
        if not any(isinstance(node.operation, Foreign) for node in imported.graph.nodes):
            return imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read(program.run_decompositions({}), axes)


def _read(program: ExportedProgram, axes: BatchAxes | None) -> Imported:
    _check_signature(program)
    reader = _Reader(program, axes)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            reader.read_input(node)
        elif node.op == "call_function":
            reader.bound[node] = reader.read_call(node)
    return reader.imported()


def _is_functional(program: ExportedProgram) -> bool:
    """Whether no operator changes its arguments."""
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    return all(
        target is operator.getitem or (isinstance(target, OpOverload) and not target._schema.is_mutable)
        for target in called
    )


@dataclass
class _Reader:
    """Walks the exported program; `bound` says what each of its nodes became."""

    program: ExportedProgram
    axes: BatchAxes | None = None
    context: Context = field(default_factory=Context)
    bound: dict[fx.Node, Any] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    shared: dict[int, Weight] = field(default_factory=dict)  # by the tensor's identity: tied weights stay one

    def read_input(self, node: fx.Node) -> None:
        """An input of the network, or a weight."""
        specifications = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        spec = specifications[node.name]
        if spec.kind == InputKind.USER_INPUT:
            self._read_user_input(node, spec)
        else:
            tensor = self._tensor(spec)
            weight = self.shared.setdefault(id(tensor), Weight(str(spec.target), tensor.detach().cpu()))
            self.context.weights[weight.name] = weight.tensor
            self.bound[node] = weight

    def _read_user_input(self, node: fx.Node, spec: InputSpec) -> None:
        if isinstance(spec.arg, ConstantArgument):
            return
        shape, dtype = tuple(node.meta["val"].shape), dtype_name(node.meta["val"])
        axis = self.axes.inputs[len(self.inputs)] if self.axes else 0
        if shape[axis : axis + 1] != (1,) or not all(isinstance(size, int) for size in shape):
            raise SpokeshaveError(
                f"input {node.name!r} was exported with shape {shape}; export the network with one sample and no "
                "other free sizes"
            )
        in_front = (1, *shape[:axis], *shape[axis + 1 :])
        name = self.context.declare(node.name, in_front, dtype)
        self.inputs.append(name)
        self.bound[node] = Flow(self.context.under(name, with_sample_axis(shape)), shape, dtype)

    def _tensor(self, spec: InputSpec) -> Tensor:
        name = str(spec.target)
        tensor = self.program.state_dict.get(name, self.program.constants.get(name))
        if not isinstance(tensor, Tensor):
            raise SpokeshaveError(
                f"the network holds {name!r}, a {type(tensor).__name__}; only tensors can be compiled"
            )
        return tensor

    def read_call(self, node: fx.Node) -> Operand | Selected | tuple[Any, ...] | None:
        """One operator: nothing, a weight computed now, a typed operation or a foreign one."""
        if node.target is operator.getitem:
            source, index = node.args
            return self.bound[source][index]  # type: ignore[index]
        self._check_target(node)
        if node.meta.get("val") is None:  # an assertion
            return None
        _check_sizes(node)
        return self._fold(node) if self._is_constant(node) else self._read_operator(node)

    def _is_constant(self, node: fx.Node) -> bool:
        assert isinstance(node.target, OpOverload)
        if RANDOM in node.target.tags:
            return False
        if node.target._opname in READ_SHAPES_ONLY:
            return True
        return not any(isinstance(self.bound[source], Flow) for source in node.all_input_nodes)

    def _check_target(self, node: fx.Node) -> None:
        if isinstance(node.target, OpOverload) and node.target.namespace in NAMESPACES:
            return
        raise SpokeshaveError(
            f"layer {layer_name(node)!r} uses the operator {node.target}, which is not one of PyTorch's own (aten)"
        )

    def _fold(self, node: fx.Node) -> Weight | tuple[Weight, ...]:
        """Compute now what depends on weights alone."""
        arguments, keywords = fx.node.map_arg(
            (node.args, node.kwargs), lambda source: _plain_tensor(self.bound[source])
        )
        keywords = {
            name: torch.device("cpu") if name == "device" else value for name, value in keywords.items()
        }
        with torch.no_grad():
            result = node.target(*arguments, **keywords)  # type: ignore[operator]
        if isinstance(result, Tensor):
            return self._folded(node, result)
        return tuple(self._folded(node, tensor) for tensor in result)

    def _folded(self, node: fx.Node, tensor: Tensor) -> Weight:
        name = self.context.constant(f"{layer_name(node)}.{node.name}", tensor.contiguous())
        return Weight(name, self.context.weights[name])

    def _read_operator(self, node: fx.Node) -> Operand | Selected | tuple[Any, ...]:
        """A typed operation where there is one, else a foreign operator; half a translation is taken back."""
        parameters = self.program.graph_signature.parameters
        read = [self.bound[source] for source in node.all_input_nodes]
        weights = [
            operand.name for operand in read if isinstance(operand, Weight) and operand.name in parameters
        ]
        layer, made = layer_name(node, weights), len(self.context.nodes)
        try:
            return self._read_typed(node, layer)
        except NotTypedError as reason:
            del self.context.nodes[made:]
            return add_foreign(self.context, node, layer, self.bound.__getitem__, str(reason))

    def _read_typed(self, node: fx.Node, layer: str) -> Flow | Selected | tuple[Flow | None, ...]:
        result = _first_result(node)
        call = Call(node, layer, self._arguments(node), tuple(result.shape))
        if call.operator not in OPERATORS:
            raise NotTypedError(f"{call.operator} has no kernel")
        if call.operator not in ANY_TYPE:
            read = [self.bound[source] for source in node.all_input_nodes]
            _check_types(
                {dtype_name(result), *(operand.dtype for operand in read if isinstance(operand, Flow))}
            )
        return OPERATORS[call.operator](self.context, call)

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        given = fx.node.map_arg((node.args, node.kwargs), lambda source: self.bound[source])
        names = [argument.name for argument in schema]
        defaults = {
            argument.name: argument.default_value for argument in schema if argument.has_default_value()
        }
        return defaults | dict(zip(names, given[0], strict=False)) | given[1]

    def imported(self) -> Imported:
        """The finished graph, its outputs in the program's order."""
        (returned,) = self.program.graph.output_node().args
        kinds = [spec.kind for spec in self.program.graph_signature.output_specs]
        wanted = [leaf for leaf, kind in zip(returned, kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
        operands = [
            materialised(self.context, "", self.bound[leaf]) for leaf in wanted if isinstance(leaf, fx.Node)
        ]
        leaves = [TENSOR if isinstance(leaf, fx.Node) else leaf for leaf in wanted]
        context = self.context
        graph = Graph(
            inputs=tuple(self.inputs),
            outputs=tuple(operand.name for operand in operands),
            values=context.values,
            nodes=tuple(context.nodes),
            weights=context.weights,
        )
        places = self._places(operands)
        return Imported(graph, structure_of(self.program.call_spec.out_spec, leaves, places))

    def _places(self, operands: list[Operand]) -> tuple[Place, ...]:
        """Where every output has its batch; nothing where all have it in front."""
        if self.axes is None or self.axes.outputs is None:
            return ()
        places = tuple(
            _place(position, operand, axis)
            for position, (operand, axis) in enumerate(zip(operands, self.axes.outputs, strict=True))
        )
        return places if any(place not in (Place(0), Place(None)) for place in places) else ()


def _place(position: int, operand: Operand, axis: int | None) -> Place:
    """Where an output has its batch; raises SpokeshaveError where its values are no samples'."""
    if isinstance(operand, Flow) and axis is not None:
        return Place(axis, operand.unbatched)
    if isinstance(operand, Flow) or axis is not None:
        follows = "is the same for every sample" if axis is None else "depends on the batch's size alone"
        raise SpokeshaveError(f"output {position} {follows}, which a deployment cannot give; leave it out")
    return Place(None)


def _check_signature(program: ExportedProgram) -> None:
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.BUFFER_MUTATION:
            raise SpokeshaveError(
                f"the network changes its buffer {plain_path(str(spec.target))!r} when it runs, and a deployment "
                "keeps no state; return the new value as an output instead"
            )


def _plain_tensor(operand: Operand) -> Tensor:
    """A weight's tensor; for an operator that reads shapes only, any tensor of the right shape."""
    return (
        operand.tensor
        if isinstance(operand, Weight)
        else torch.empty(operand.shape, dtype=getattr(torch, operand.dtype))
    )


def _check_sizes(node: fx.Node) -> None:
    made = node.meta["val"]
    results = made if isinstance(made, list | tuple) else [made]
    if any(
        isinstance(size, torch.SymInt) for each in results if isinstance(each, Tensor) for size in each.shape
    ):
        raise SpokeshaveError(
            f"layer {layer_name(node)!r} uses {node.target}, and the shape of what it gives depends on the values in a "
            "tensor, which cannot be compiled; keep every shape fixed, by a mask for example"
        )


def _first_result(node: fx.Node) -> Tensor:
    results = node.meta["val"]
    tensor = results if isinstance(results, Tensor) else results[0]
    if not isinstance(tensor, Tensor):
        raise NotTypedError("it gives a number")
    return tensor


def _check_types(dtypes: set[str]) -> None:
    if dtypes != {"float32"}:
        raise NotTypedError(f"{' and '.join(sorted(dtypes - {'float32'}))} values are not compiled")
