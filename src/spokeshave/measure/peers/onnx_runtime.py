"""ONNX Runtime, by way of PyTorch's own ONNX export."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from spokeshave.measure.peers.peer import PeerError, Run, Task


def onnx_runtime(task: Task) -> Run:
    """ONNX Runtime on the CPU with all graph optimisations; inputs and outputs are numpy arrays."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PeerError(f"{error.name} is not installed: pip install 'spokeshave[peers]'") from error
    session = _session(task, onnxruntime)
    feeds = {put.name: tensor.numpy() for put, tensor in zip(session.get_inputs(), task.inputs, strict=True)}

    def run() -> Any:
        return session.run(None, feeds)

    return run


def _session(task: Task, onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        program = torch.onnx.export(task.network, task.inputs, dynamo=True, verbose=False)
        if program is None:
            raise PeerError("PyTorch's ONNX export gave no program")
        program.save(path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
