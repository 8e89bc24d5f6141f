"""The manifest of a saved deployment: everything but the numbers, as one JSON document."""

import json
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, get_args

from spokeshave.compiler.dynamic import Extent
from spokeshave.compiler.kinds import kind_told, reason_missing
from spokeshave.compiler.operations import Activation, Foreign, Operation
from spokeshave.compiler.quantization.record import LayerPrecision, layer_precision
from spokeshave.compiler.schedule import Schedule
from spokeshave.errors import SpokeshaveError

FORMAT = 6
MANIFEST, SOURCE, WEIGHTS, LIBRARY = "manifest.json", "model.c", "weights.safetensors", "model.so"


@dataclass(frozen=True)
class StepRecord:
    """One step of a compiled segment, for profiles and reports; `kernel` is empty for library functions."""

    layer: str
    operation: str
    kernel: str
    schedule: Schedule | None = None


@dataclass(frozen=True)
class SegmentStage:
    """A compiled segment: values it reads and writes, its arena and the names of its constants in order.

    An arena has room for `together` samples, which are worked on together.
    """

    index: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arena_floats: int
    together: int
    constants: tuple[str, ...]
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True)
class ForeignStage:
    """An operation that PyTorch runs between segments, and why it was not compiled."""

    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: Operation
    reason: str

    @property
    def target(self) -> str:
        """The operator's name."""
        return self.operation.target if isinstance(self.operation, Foreign) else type(self.operation).__name__


Stage = SegmentStage | ForeignStage


@dataclass(frozen=True)
class ValueRecord:
    """Shape (batch axis 1 included) and element type of a value that crosses stages."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Manifest:
    """What a deployment is: where it runs, how it is called, its stages."""

    isa: str
    machine: str
    system: str
    compiler: str
    inputs: tuple[ValueRecord, ...]
    outputs: tuple[str, ...]
    structure: dict[str, Any]
    values: tuple[ValueRecord, ...]
    stages: tuple[Stage, ...]
    weight_bytes: int
    precision: str = "float32"
    layers: tuple[
        LayerPrecision, ...
    ] = ()  # of lower precision than float32 asked for: what became of every layer

    input_axes: tuple[int, ...] = ()  # the batch axis of every input; values have theirs in front
    dynamic: tuple[Extent, ...] = ()  # axes that follow the caller's lengths
    lengths: tuple[str, ...] = ()  # their names
    capacity: tuple[int, ...] = ()  # the greatest of each
    selectors: tuple[str, ...] = ()  # names of those whose numbers of tokens are the last outputs

    @property
    def fallen_out(self) -> tuple[ForeignStage, ...]:
        """The operators that PyTorch runs."""
        return tuple(stage for stage in self.stages if isinstance(stage, ForeignStage))


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest with the size and SHA-256 digest of every other file in `folder`, and a digest of its own."""
    files = {path.name: file_record(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    stages = [_stage_document(stage) for stage in manifest.stages]
    document = {"format": FORMAT, **asdict(manifest), "stages": stages, "files": files}
    (folder / MANIFEST).write_text(json.dumps(document | {"sha256": document_digest(document)}, indent=1))


def document_digest(document: dict[str, Any]) -> str:
    """Digest of what a JSON document says, whatever the order of its keys."""
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def file_record(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 digest of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest and check every file against it; raises SpokeshaveError for anything missing or damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        here = " that runs here" if kind_told(folder) else ""
        raise SpokeshaveError(f"{folder} is not a deployment{here}: {reason_missing(folder, MANIFEST)}")
    try:
        document = json.loads(path.read_text())
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
        if document["format"] != FORMAT:
            raise SpokeshaveError(
                f"{path} has format {document['format']}, this version reads format {FORMAT}; compile it again"
            )
        if document.pop("sha256") != document_digest(document):
            raise ValueError("its digest is not that of what it says")
        files = document.pop("files")
        manifest = _parse({key: value for key, value in document.items() if key != "format"})
        check_files(folder, files, (SOURCE, WEIGHTS, LIBRARY))
    except SpokeshaveError:
        raise
    except Exception as error:  # whatever reading a file that somebody changed ends in
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise SpokeshaveError(f"{path} is damaged: {reason}; save the deployment again") from error
    return manifest


def check_files(folder: Path, files: dict[str, Any], names: tuple[str, ...]) -> None:
    """Raise SpokeshaveError where a file is missing, or is not the one on record (`file_record`)."""
    for name in names:
        path = folder / name
        if name not in files or not path.is_file():
            raise SpokeshaveError(f"the deployment {folder} is damaged: {name} is missing; save it again")
        if path.stat().st_size != files[name]["bytes"]:
            expected, found = files[name]["bytes"], path.stat().st_size
            raise SpokeshaveError(
                f"{path} is damaged: {found} bytes instead of {expected}; save the deployment again"
            )
        if file_record(path) != files[name]:
            raise SpokeshaveError(
                f"{path} is damaged: its digest is not the manifest's; save the deployment again"
            )


def _stage_document(stage: Stage) -> dict[str, Any]:
    kind = {"type": type(stage.operation).__name__} if isinstance(stage, ForeignStage) else {}
    document = asdict(stage)
    if kind:
        document["operation"] = kind | document["operation"]
    return document


def _parse(document: dict[str, Any]) -> Manifest:
    values = {key: tuple(_value(entry) for entry in document[key]) for key in ("inputs", "values")}
    stages = tuple(_stage(entry) for entry in document["stages"])
    layers = tuple(layer_precision(entry) for entry in document["layers"])
    extents = tuple(_extent(entry) for entry in document["dynamic"])
    tuples = {"stages": stages, "outputs": tuple(document["outputs"]), "layers": layers, "dynamic": extents}
    tuples |= {key: tuple(document[key]) for key in ("lengths", "capacity", "input_axes", "selectors")}
    return Manifest(**(document | values | tuples))


def _extent(entry: dict[str, Any]) -> Extent:
    return Extent(**(entry | {"scales": tuple(entry["scales"])}))


def _value(entry: dict[str, Any]) -> ValueRecord:
    return ValueRecord(entry["name"], tuple(entry["shape"]), entry["dtype"])


def _stage(entry: dict[str, Any]) -> Stage:
    tuples = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    if "operation" in entry:
        return ForeignStage(**(entry | tuples | {"operation": _operation(entry["operation"])}))
    tuples["steps"] = tuple(_step(step) for step in entry["steps"])
    return SegmentStage(**(entry | tuples))


def _step(entry: dict[str, Any]) -> StepRecord:
    schedule = entry["schedule"]
    return StepRecord(**(entry | {"schedule": schedule and Schedule(**schedule)}))


def _operation(entry: dict[str, Any]) -> Operation:
    """An operation from its type's name and fields; only the compiler's own operation types are made."""
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    kinds = {kind.__name__: kind for kind in get_args(Operation)}
    kind = kinds[settings.pop("type")]
    activation = settings.get("activation")
    if isinstance(activation, dict):
        settings["activation"] = Activation(activation["kind"], tuple(activation["parameters"]))
    return kind(**settings)
