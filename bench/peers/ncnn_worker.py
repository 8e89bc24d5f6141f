"""ncnn, float32, by its own converter from TorchScript (pnnx)."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
    before, after = _batch_axes(folder / "network_ncnn.py")
    mats = [  # cloned, since a Mat alone does not keep its array
        ncnn.Mat(_in_32_bits(array), batch_index=axis).clone()
        for array, axis in zip(inputs, before, strict=True)
    ]

    def run() -> list[np.ndarray]:
        with network.create_extractor() as extractor:
            for name, mat in zip(network.input_names(), mats, strict=True):
                extractor.input(name, mat)
            outputs = [extractor.extract(name) for name in network.output_names()]
            return [_array(output, axis) for output, axis in zip(outputs, after, strict=True)]

    return run, version("ncnn")


def _batch_axes(script: Path) -> tuple[list[int], list[int]]:
    """Where inputs and outputs have their batch axis, which Mats have not, by the example that the converter wrote."""
    text = script.read_text()
    found = (
        re.findall(pattern, text)
        for pattern in (r"Mat\(in.*batch_index=(\d+)", r"out\d+\.numpy\(batch_index=(\d+)")
    )
    before, after = ([int(axis) for axis in axes] for axes in found)
    return before, after


def _in_32_bits(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _array(extracted: tuple[int, Any], axis: int) -> np.ndarray:
    failed, mat = extracted
    if failed:
        raise RuntimeError(f"ncnn cannot run the network (code {failed})")
    return np.array(mat.numpy(batch_index=axis))


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
