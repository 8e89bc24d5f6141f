"""ONNX Runtime, by way of PyTorch's own ONNX export, in float32 and in int8."""

from pathlib import Path
from typing import Any

from spokeshave.measure.peers.onnx_file import NEEDED, onnx_file, quantized_onnx_file
from spokeshave.measure.peers.peer import PeerError, Run, Task


def onnx_runtime(task: Task) -> Run:
    """ONNX Runtime on the CPU with all graph optimisations; inputs and outputs are numpy arrays."""
    _library()
    return _runs(onnx_file(task), task)


def onnx_runtime_int8(task: Task) -> Run:
    """The same on the statically quantized network."""
    _library()
    return _runs(quantized_onnx_file(task), task)


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise PeerError(f"{error.name} is not installed: {NEEDED}") from error
    return onnxruntime


def _runs(path: Path, task: Task) -> Run:
    session = _session(path, task.threads)
    feeds = {put.name: tensor.numpy() for put, tensor in zip(session.get_inputs(), task.inputs, strict=True)}

    def run() -> Any:
        return session.run(None, feeds)

    return run


def _session(path: Path, threads: int) -> Any:
    library = _library()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
