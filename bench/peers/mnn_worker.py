"""MNN, float32, by its own converter from ONNX."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from line_protocol import Run, serve


def load(folder: Path, inputs: list[np.ndarray], threads: int) -> tuple[Run, str]:
    import MNN

    interpreter = MNN.Interpreter(str(_converted(folder)))
    session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    for tensor, array in zip(interpreter.getSessionInputAll(session).values(), inputs, strict=True):
        interpreter.resizeTensor(tensor, array.shape)
    interpreter.resizeSession(session)
    samples = [_tensor(MNN, array) for array in inputs]

    def run() -> list[np.ndarray]:
        for tensor, sample in zip(interpreter.getSessionInputAll(session).values(), samples, strict=True):
            tensor.copyFrom(sample)  # every time: MNN reuses the memory of its inputs
        interpreter.runSession(session)
        return [_array(MNN, tensor) for tensor in interpreter.getSessionOutputAll(session).values()]

    return run, version("MNN")


def _tensor(library: Any, array: np.ndarray) -> Any:
    kind = library.Halide_Type_Float if array.dtype == np.float32 else library.Halide_Type_Int
    return library.Tensor(array.shape, kind, array, library.Tensor_DimensionType_Caffe)


def _array(library: Any, tensor: Any) -> np.ndarray:
    host = _tensor(library, np.zeros(tensor.getShape(), np.float32))
    tensor.copyToHostTensor(host)
    return np.array(host.getData(), np.float32).reshape(tensor.getShape())


def _converted(folder: Path) -> Path:
    """Convert by the native module: importing the wheel's `MNN.tools` installs and starts a usage reporter."""
    path = folder / "network.mnn"
    if not path.exists():
        import _tools

        arguments = ["-f", "ONNX", "--modelFile", str(folder / "network.onnx"), "--MNNModel", str(path)]
        _tools.mnnconvert(["mnnconvert", *arguments, "--bizCode", "bench"])
    return path


if __name__ == "__main__":
    serve(load)
