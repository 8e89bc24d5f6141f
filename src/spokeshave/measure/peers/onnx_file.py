"""The network as an ONNX file, in float32 and quantized to int8; written once for all peers that read it."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from spokeshave.measure.peers.peer import PeerError, Task

OLDER_OPERATORS = 17
NEEDED = "pip install 'spokeshave[peers]'"


def onnx_file(task: Task, older: bool = False) -> Path:
    """PyTorch's own export; raises PeerError where that or its packages are missing.

    `older` asks for PyTorch's older exporter and operators of version 17, for peers that know no newer ones.
    """
    path = task.folder / ("network-older.onnx" if older else "network.onnx")
    if not path.exists():
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise PeerError(f"{error.name} is not installed: {NEEDED}") from error
        _export(task, path, older or is_recurrent(task.network))
    return path


def quantized_onnx_file(task: Task) -> Path:
    """Int8 weights by channel and int8 activations between quantize-dequantize pairs, by ONNX Runtime's own tools.

    Activations are calibrated on the task's one sample, which is enough to time the network.
    """
    if is_recurrent(task.network):
        raise PeerError("its quantizer leaves recurrent layers in float32")
    path = task.folder / "network-int8.onnx"
    if not path.exists():
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = task.folder / "network-prepared.onnx"
        quant_pre_process(onnx_file(task), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            _OneSample(prepared, task),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return path


def is_recurrent(network: nn.Module) -> bool:
    """Whether a network has recurrent layers, which only the older exporter writes as one operator each."""
    return any(isinstance(module, nn.RNNBase) for module in network.modules())


def _export(task: Task, path: Path, older: bool) -> None:
    if older:
        torch.onnx.export(task.network, task.inputs, path, dynamo=False, opset_version=OLDER_OPERATORS)
        return
    program = torch.onnx.export(task.network, task.inputs, dynamo=True, verbose=False)
    if program is None:
        raise PeerError("PyTorch's ONNX export gave no program")
    program.save(path)


class _OneSample:
    """The task's sample as ONNX Runtime's calibration reads it: once."""

    def __init__(self, path: Path, task: Task) -> None:
        import onnx

        names = [put.name for put in onnx.load(path, load_external_data=False).graph.input]
        arrays = [tensor.numpy() for tensor in task.inputs]
        self._left: list[dict[str, Any]] = [dict(zip(names, arrays, strict=True))]

    def get_next(self) -> dict[str, Any] | None:
        """The sample, then None."""
        return self._left.pop() if self._left else None
