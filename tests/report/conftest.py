"""A result as a run writes it, small and made up: what is tested is how figures are shown."""

import pytest


def _row(name, seconds, own=False):
    return {
        "name": name, "own": own, "precision": "fp32", "version": "1.0", "median_seconds": seconds,
        "lower_quartile": seconds * 0.9, "upper_quartile": seconds * 1.2, "speedup": seconds / 0.0005,
    }  # fmt: skip


def _layer(name, density, dense, pruned):
    return {
        "layer": name, "weight_shape": [8, 4, 3, 3] if density else None, "density": density,
        "dense_seconds": dense, "seconds": pruned, "kernel": "panel",
    }  # fmt: skip


def _epoch(phase, epoch, accuracy, residual=None):
    return {
        "phase": phase,
        "epoch": epoch,
        "loss": 0.5,
        "accuracy": accuracy,
        "residual": residual,
        "seconds": 1.0,
    }


@pytest.fixture
def result():
    return {
        "compression": 8.5,
        "compression_network": 7.25,
        "short_of_budget": ["stage.conv.weight: 6.1 % of the weights are left."],
        "dense_accuracy": 0.991,
        "deployment_accuracy": 0.9875,
        "random_baseline_accuracy": 0.11,
        "speedup_over_best_dense_fp32": 4.2,
        "best_dense_peer": "ONNX <Runtime>",
        "max_relative_error": 3e-6,
        "held_out_samples": 360,
        "table": [
            _row("spokeshave", 0.0005, own=True),
            _row("ONNX <Runtime>", 0.0021),
            _row("PyTorch eager", 0.0033),
        ],
        "absent": [{"name": "OpenVINO", "reason": "not installed"}],
        "layers": [
            _layer("stem", None, 1e-4, 1e-4),
            _layer("stage.conv", 0.12, 1e-3, 1.25e-4),
            _layer("new", None, None, 2e-6),
        ],
        "epochs": [
            _epoch("dense", 0, 0.9),
            _epoch("dense", 1, 0.95),
            _epoch("method", 0, 0.96, 0.5),
            _epoch("fine_tune", 0, 0.97),
        ],
        "machine": {"cpu": "Some CPU & Co", "cores": 2, "isa": "avx2"},
        "versions": {"spokeshave": "0.1.0", "torch": "2.13.0"},
        "wall_seconds": {"prepare": 1.0, "dense": 61.0},
        "recipe": {"network": "nets.py:<small>", "device": "host", "threads": 2, "seed": 3},
        "recipe_digest": "0123456789abcdef" * 4,
        "command": "spokeshave fit 'nets.py:<small>'",
    }
