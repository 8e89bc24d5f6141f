"""Saved deployments that are a graph run by PyTorch: everything but tensors as one JSON document, tensors beside it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor

from spokeshave.compiler.folder import write_folder
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.graph_document import graph_document, graph_from
from spokeshave.compiler.kinds import reason_missing
from spokeshave.compiler.manifest import ValueRecord, check_files, document_digest, file_record
from spokeshave.compiler.verify import GraphError, verify
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError

FORMAT, WEIGHTS, STATE = 2, "weights.safetensors", "state.safetensors"
Made = TypeVar("Made")
Tensors = Mapping[str, Tensor]


def write_graph(
    folder: Path | str, marker: str, graph: Graph, facts: dict[str, Any], state: Tensors | None = None
) -> None:
    """Write a graph to a folder, which must be new, empty or such a deployment (one with the file `marker`).

    `facts`: plain data beside the graph; `state`: tensors that are no weights of it.
    """

    def write(whole: Path) -> None:
        files = {WEIGHTS: graph.weights} | ({} if state is None else {STATE: state})
        for name, tensors in files.items():
            plain = {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
            save_file(plain, whole / name)
        document = {
            "format": FORMAT,
            **facts,
            "graph": graph_document(graph),
            "files": {name: file_record(whole / name) for name in files},
        }
        (whole / marker).write_text(json.dumps(document | {"sha256": document_digest(document)}, indent=1))

    write_folder(Path(folder), "deployment", marker, write)


def read_graph(
    folder: Path | str, marker: str, kind: str, made: Callable[[dict[str, Any], Graph, Tensors], Made]
) -> Made:
    """What `made` gives for the document, the graph and the state in a folder.

    Raises SpokeshaveError when the folder is no `kind`, or is damaged.
    """
    path = Path(folder) / marker
    if not path.is_file():
        raise SpokeshaveError(f"{folder} is no {kind}: {reason_missing(Path(folder), marker)}")
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise SpokeshaveError(
                f"{path} has format {document['format']}, this version reads format {FORMAT}; deploy again"
            )
        if document.pop("sha256", None) != document_digest(document):
            raise ValueError("its digest is not that of what it says")
        check_files(Path(folder), document["files"], (WEIGHTS, *document["files"]))
        graph = verify(graph_from(document["graph"], load_file(Path(folder) / WEIGHTS)))
        state = load_file(Path(folder) / STATE) if STATE in document["files"] else {}
        return made(document, graph, state)
    except (ValueError, KeyError, TypeError, AttributeError, GraphError) as error:
        raise SpokeshaveError(f"{path} is damaged: {error}; save the deployment again") from error


def cost_from(document: dict[str, Any]) -> Cost:
    """A cost of plain data."""
    cost = Cost(**document)
    return replace(cost, by_layer=pairs(cost.by_layer), left_out=pairs(cost.left_out))


def pairs(entries: Any) -> tuple[tuple[Any, Any], ...]:
    """Lists of two, as JSON has them, in tuples."""
    return tuple((first, second) for first, second in entries)


def input_records(graph: Graph) -> tuple[ValueRecord, ...]:
    """Shapes and types of a graph's inputs."""
    values = [graph.values[name] for name in graph.inputs]
    return tuple(ValueRecord(value.name, tuple(map(int, value.shape)), value.dtype) for value in values)
