"""OpenVINO, where somebody has installed it, in the precision that the task asks for."""

from collections.abc import Callable
from typing import Any

import torch

from spokeshave.measure.peers.onnx_file import is_recurrent, onnx_file
from spokeshave.measure.peers.peer import PeerError, Run, Task

ATTENTION = {"Softmax", "ScaledDotProductAttention"}
NEEDED = "pip install 'spokeshave[bench]'"


def openvino(task: Task) -> Run:
    """OpenVINO on the CPU, held to float32: left alone it computes in bfloat16 where the CPU has that."""
    return _runs(_model(task), task, "f32")


def openvino_bf16(task: Task) -> Run:
    """OpenVINO on the CPU, told to compute in bfloat16."""
    return _runs(_model(task), task, "bf16")


def openvino_int8(task: Task) -> Run:
    """OpenVINO on the network as NNCF quantizes it after training; what stays real is float32.

    Activations are calibrated on the task's one sample, which is enough to time the network.
    """
    try:
        import nncf
    except ImportError as error:
        raise PeerError(f"nncf is not installed: {NEEDED}") from error
    if is_recurrent(task.network):
        raise PeerError("its quantizer leaves recurrent layers in float32")

    def quantized() -> Any:
        model = _model(task)
        attends = any(operation.get_type_name() in ATTENTION for operation in model.get_ops())
        sample = [tensor.numpy() for tensor in task.inputs]
        kind = nncf.ModelType.TRANSFORMER if attends else None
        return nncf.quantize(model, nncf.Dataset([sample]), subset_size=1, model_type=kind)

    return _runs(_converted_once(task, "network-int8.xml", quantized), task, "f32")


def _library() -> Any:
    try:
        import openvino as library
    except ImportError as error:
        raise PeerError(f"openvino is not installed: {NEEDED}") from error
    return library


def _model(task: Task) -> Any:
    library = _library()

    def converted() -> Any:
        if is_recurrent(task.network):
            model = library.convert_model(onnx_file(task))
        else:
            model = library.convert_model(torch.export.export(task.network, task.inputs, strict=False))
        model.reshape({position: list(tensor.shape) for position, tensor in enumerate(task.inputs)})
        return model

    return _converted_once(task, "network.xml", converted)


def _converted_once(task: Task, name: str, convert: Callable[[], Any]) -> Any:
    """The model of a file in the task's folder, written by `convert` when it is not there."""
    library, path = _library(), task.folder / name
    if not path.exists():
        library.save_model(convert(), path, compress_to_fp16=False)
    return library.Core().read_model(path)


def _runs(model: Any, task: Task, precision: str) -> Run:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": task.threads,
        "NUM_STREAMS": 1,
    }
    request = _library().compile_model(model, "CPU", settings).create_infer_request()
    arrays = [tensor.numpy() for tensor in task.inputs]

    def run() -> Any:
        outputs = request.infer(arrays, share_inputs=True, share_outputs=True)
        return [outputs[position] for position in range(len(outputs))]

    return run
