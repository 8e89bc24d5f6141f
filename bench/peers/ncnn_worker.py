"""ncnn, float32, by its own converter from TorchScript (pnnx)."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from line_protocol import Run, serve

SIXTEEN_BITS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")
KINDS = {"float32": "f32", "int64": "i64"}


def load(folder: Path, inputs: list[np.ndarray], threads: int) -> tuple[Run, str]:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    for name in SIXTEEN_BITS:
        setattr(network.opt, name, False)
    converted = _converted(folder, inputs)
    if network.load_param(f"{converted}.param") or network.load_model(f"{converted}.bin"):
        raise RuntimeError("ncnn does not read what its converter wrote")
    arrays = [_without_batch(array) for array in inputs]
    mats = [ncnn.Mat(array) for array in arrays]

    def run() -> list[np.ndarray]:
        with network.create_extractor() as extractor:
            for name, mat in zip(network.input_names(), mats, strict=True):
                extractor.input(name, mat)
            return [_output(extractor.extract(name)) for name in network.output_names()]

    return run, version("ncnn")


def _without_batch(array: np.ndarray) -> np.ndarray:
    """One sample as ncnn has it: no batch axis, and 32-bit numbers."""
    return np.ascontiguousarray(array[0].astype(np.int32) if array.dtype == np.int64 else array[0])


def _output(extracted: tuple[int, object]) -> np.ndarray:
    failed, mat = extracted
    if failed:
        raise RuntimeError(f"ncnn cannot run the network (code {failed})")
    return np.array(mat)[None]


def _converted(folder: Path, inputs: list[np.ndarray]) -> Path:
    stem = folder / "network.ncnn"
    if not Path(f"{stem}.bin").exists():
        shapes = ",".join(
            f"{list(array.shape)}{KINDS[array.dtype.name]}".replace(" ", "") for array in inputs
        )
        program = Path(sys.executable).with_name("pnnx")
        subprocess.run(
            [program, "network.pt", f"inputshape={shapes}", "fp16=0"], cwd=folder, check=True, timeout=600
        )
    return stem


if __name__ == "__main__":
    serve(load)
