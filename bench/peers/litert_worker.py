"""LiteRT with XNNPACK, float32, by LiteRT's own converter from PyTorch."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from line_protocol import Run, serve


def load(folder: Path, inputs: list[np.ndarray], threads: int) -> tuple[Run, str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(_converted(folder, inputs)), num_threads=threads)
    signature = interpreter.get_signature_runner("serving_default")
    details = sorted(signature.get_input_details().items())
    feeds = {
        name: array.astype(detail["dtype"]) for (name, detail), array in zip(details, inputs, strict=True)
    }
    return lambda: list(signature(**feeds).values()), version("ai-edge-litert")


def _converted(folder: Path, inputs: list[np.ndarray]) -> Path:
    path = folder / "network.tflite"
    if not path.exists():
        import litert_torch
        import torch

        program = torch.export.load(folder / "network.pt2")
        samples = tuple(torch.from_numpy(array) for array in inputs)
        litert_torch.convert(program.module(), samples).export(str(path))
    return path


if __name__ == "__main__":
    serve(load)
