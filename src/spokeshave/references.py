"""Names for networks and data: `module:callable`, `path/to/file.py:callable`, built-in names, and files.

Everything a name can get wrong is one sentence: what is not there, where it was looked for, and what is near.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from spokeshave.data import Data

NETWORK_FORMS = "module:callable, path/to/file.py:callable, a .pt2 file, a Hugging Face folder or id"
DATA_FORMS = "module:callable or path/to/file.py:callable"


def resolve_network(reference: str) -> "nn.Module | ExportedProgram":
    """The network that `reference` names; callables are called without arguments.

    Raises SpokeshaveError when it is not there, or is something else than a network.
    """
    from torch import nn

    from spokeshave.networks import NETWORKS

    if reference in NETWORKS:
        return NETWORKS[reference]()
    if reference.endswith(".pt2"):
        return _exported_program(Path(reference))
    if ":" in reference:
        made = _call(reference)
        if not isinstance(made, nn.Module):
            raise SpokeshaveError(f"{reference} gives {_kind(made)}, not a network (torch.nn.Module)")
        return made
    if (Path(reference) / "config.json").is_file() or _looks_like_hub_id(reference):
        return _pretrained(reference)
    if Path(reference).is_dir():
        raise SpokeshaveError(f"{reference} is no Hugging Face folder: it holds no config.json")
    raise SpokeshaveError(
        f"there is no network {reference!r}; {_choices(reference, NETWORKS, NETWORK_FORMS)}"
    )


def resolve_data(reference: str) -> "Data":
    """The data that `reference` names; a callable gives `Data` or a pair `(train, held_out)` of loaders.

    Raises SpokeshaveError when it is not there, or is something else than data.
    """
    from spokeshave.data import DATA, Data

    if reference in DATA:
        return DATA[reference]()
    if ":" not in reference:
        raise SpokeshaveError(f"there is no data {reference!r}; {_choices(reference, DATA, DATA_FORMS)}")
    made = _call(reference)
    if isinstance(made, Data):
        return made
    if isinstance(made, tuple) and len(made) == 2 and all(hasattr(loader, "__iter__") for loader in made):
        train, held_out = made
        return Data(
            train=train, held_out=held_out, classes=_count_classes(held_out, reference), name=reference
        )
    raise SpokeshaveError(
        f"{reference} gives {_kind(made)}, not spokeshave.Data or a pair (train, held_out) of loaders"
    )


def absolute_reference(reference: str) -> str:
    """The same reference with a file's path made absolute, so that it holds from any folder.

    >>> absolute_reference("digits")
    'digits'
    """
    path, colon, name = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{Path(path).resolve()}:{name}"
    is_file = reference.endswith(".pt2") or (Path(reference) / "config.json").is_file()
    return str(Path(reference).resolve()) if is_file else reference


def _call(reference: str) -> Any:
    """What the named callable returns; a finished network or finished data is taken as it is."""
    source, _, name = reference.rpartition(":")
    if not source or not name:
        raise SpokeshaveError(f"{reference!r} lacks what stands before or after the colon: module:callable")
    with _importable_from(_source_folder(source)):
        module = _load_file(Path(source)) if source.endswith(".py") else _load_module(source)
        named = _attribute(module, source, name)
        if not callable(named) or _is_network(named):
            return named
        with _user_errors(f"calling {reference} without arguments failed"):
            return named()


def _source_folder(source: str) -> Path:
    return Path(source).resolve().parent if source.endswith(".py") else Path.cwd()


@contextlib.contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Let imports find `folder` first while the block runs, and not after it."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _load_file(path: Path) -> ModuleType:
    """Import a file under a private name, so that it shadows no module and no module shadows it."""
    if not path.is_file():
        near = get_close_matches(path.name, (found.name for found in path.parent.glob("*.py")), n=1)
        raise SpokeshaveError(f"there is no file {path}" + (f"; did you mean {near[0]}?" if near else ""))
    private_name = f"_spokeshave_{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(private_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[private_name] = module
    with _user_errors(f"{path} cannot be imported"):
        spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    with _user_errors(f"the module {name} cannot be imported"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise
            near = get_close_matches(name, _module_names(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SpokeshaveError(
                f"there is no module {name!r} in {Path.cwd()} or installed{hint}"
            ) from error


def _module_names() -> Iterable[str]:
    return [*(path.stem for path in Path.cwd().glob("*.py")), *sys.modules]


def _attribute(module: ModuleType, source: str, name: str) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = get_close_matches(name, public, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SpokeshaveError(f"{source} has no callable {name!r}{hint}")


@contextlib.contextmanager
def _user_errors(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into one sentence that names its file and line."""
    try:
        yield
    except SpokeshaveError:
        raise
    except Exception as error:
        raise SpokeshaveError(f"{what}: {_summary(error)}") from error


def _summary(error: Exception) -> str:
    """`ValueError: message (file.py, line 3)`: the last place outside installed packages."""
    message = " ".join(str(error).split())
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__
        and not frame.filename.startswith("<")
        and "site-packages" not in frame.filename
    ]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {message}{where}" if message else f"{type(error).__name__}{where}"


def _is_network(named: Any) -> bool:
    from torch import nn

    return isinstance(named, nn.Module)


def _kind(value: Any) -> str:
    """
    >>> _kind((1, 2)), _kind(None)
    ('a tuple of 2', 'None')
    """
    if value is None:
        return "None"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{size}"


def _choices(reference: str, names: Iterable[str], forms: str) -> str:
    """
    >>> _choices("digit", ["digits", "cifar10"], "module:callable")
    'did you mean digits? Otherwise name one of digits, cifar10, or module:callable'
    """
    near = get_close_matches(reference, names, n=1)
    hint = f"did you mean {near[0]}? Otherwise name" if near else "name"
    return f"{hint} one of {', '.join(names)}, or {forms}"


def _count_classes(held_out: Iterable[Any], reference: str) -> int:
    """One more than the largest label of the held-out batches."""
    with _user_errors(f"the held-out loader of {reference} does not give (inputs, labels) batches"):
        highest = [int(labels.max()) for _, labels in held_out]
    if not highest:
        raise SpokeshaveError(f"the held-out loader of {reference} is empty")
    return 1 + max(highest)


def _exported_program(path: Path) -> "ExportedProgram":
    """Load a `.pt2` archive; one that holds pickled objects is refused, for it could run any code."""
    import torch

    if not path.is_file():
        raise SpokeshaveError(f"{path} is a folder" if path.is_dir() else f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise SpokeshaveError(f"{path} is damaged or no exported program; write it with torch.export.save")
    with zipfile.ZipFile(path) as archive:
        if any("custom_obj" in name or "opaque_obj" in name for name in archive.namelist()):
            raise SpokeshaveError(
                f"{path} holds pickled objects, which are never loaded; export a network of tensors only"
            )
    with _environment("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1"), _user_errors(f"{path} cannot be loaded"):
        return torch.export.load(path)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _looks_like_hub_id(reference: str) -> bool:
    """`owner/name`, and not below a folder that exists."""
    parts = reference.split("/")
    return (
        len(parts) == 2
        and all(parts)
        and not Path(parts[0]).exists()
        and not reference.startswith((".", "~"))
    )


def _pretrained(reference: str) -> "nn.Module":
    """The network of a Hugging Face folder or id, of the class its configuration names; safetensors only."""
    try:
        import transformers
    except ImportError as error:
        raise SpokeshaveError(
            "Hugging Face networks need the extra: pip install 'spokeshave[models]'"
        ) from error
    try:
        config = transformers.AutoConfig.from_pretrained(reference)
        architecture = getattr(
            transformers, (config.architectures or [""])[0] or "AutoModel", transformers.AutoModel
        )
        network: Callable[..., nn.Module] = architecture.from_pretrained
        return network(reference, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        here = "" if Path(reference).is_dir() else f"there is no folder {reference} here, and "
        raise SpokeshaveError(
            f"{here}the Hugging Face network {reference!r} cannot be loaded: {reason}"
        ) from error
