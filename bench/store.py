"""Our deployments on disk, so that a short window on a quiet machine is spent on timing alone."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from spokeshave.compiler import NativeDeployment, load_deployment
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.network_cache import package_digest

DEPLOYMENT, FACTS = "deployment", "facts.json"

Made = tuple[NativeDeployment, dict[str, Any]]
"""A deployment, and what was found out about it when it was made, as JSON has it."""


def kept(folder: Path, settings: str, make: Callable[[], Made]) -> Made:
    """What lies in `folder`, where this compiler made it from the same settings; otherwise what `make` makes.

    That is then kept there. The folder belongs to one network: its weights are no part of the settings.
    """
    key = sha256(
        repr((package_digest(), torch.__version__, find_compiler().version, settings)).encode()
    ).hexdigest()
    facts = folder / FACTS
    if facts.exists() and (found := json.loads(facts.read_text()))["key"] == key:
        return load_deployment(folder / DEPLOYMENT), found["facts"]
    deployment, known = make()
    shutil.rmtree(folder, ignore_errors=True)
    deployment.save(folder / DEPLOYMENT)
    facts.write_text(json.dumps({"key": key, "facts": known}))
    return deployment, known
