"""DeepSparse, the last release: a runtime that skips zeros of unstructured pruning. End of life, evaluation licence."""

import os
from pathlib import Path

import numpy as np
from line_protocol import Run, serve

os.environ |= {"NM_DISABLE_ANALYTICS": "1", "NM_BIND_THREADS_TO_CORES": "0"}  # others are not bound either


NEWEST_FORMAT = 9  # of ONNX files, that this release reads


def load(folder: Path, inputs: list[np.ndarray], threads: int) -> tuple[Run, str]:
    import deepsparse

    engine = deepsparse.Engine(str(_older_format(folder)), batch_size=1, num_cores=threads)
    arrays = [np.ascontiguousarray(array) for array in inputs]
    return lambda: engine.run(arrays, val_inp=False), deepsparse.__version__


def _older_format(folder: Path) -> Path:
    import onnx

    path = folder / "network-deepsparse.onnx"
    if not path.exists():
        model = onnx.load(folder / "network-older.onnx")
        model.ir_version = NEWEST_FORMAT
        onnx.save(model, path)
    return path


if __name__ == "__main__":
    serve(load)
