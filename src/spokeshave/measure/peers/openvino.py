"""OpenVINO, where somebody has installed it."""

from typing import Any

import torch

from spokeshave.measure.peers.peer import PeerError, Run, Task


def openvino(task: Task) -> Run:
    """OpenVINO on the CPU, held to float32: left alone it computes in bfloat16 where the CPU has that."""
    try:
        import openvino as library
    except ImportError as error:
        raise PeerError("openvino is not installed: pip install openvino") from error
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": task.threads,
        "NUM_STREAMS": 1,
    }
    model = library.convert_model(torch.export.export(task.network, task.inputs, strict=False))
    model.reshape({position: list(tensor.shape) for position, tensor in enumerate(task.inputs)})
    request = library.compile_model(model, "CPU", settings).create_infer_request()
    arrays = [tensor.numpy() for tensor in task.inputs]

    def run() -> Any:
        outputs = request.infer(arrays, share_inputs=True, share_outputs=True)
        return [outputs[position] for position in range(len(outputs))]

    return run
