"""Pictures as plain data: who knows a device, or a run, fills them, and the report draws them."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Gauge:
    """How much of something is used."""

    label: str
    used: float
    available: float
    unit: str = ""


@dataclass(frozen=True)
class Gauges:
    """Used shares side by side: resources of a chip, lines and columns of crossbars."""

    title: str
    note: str
    gauges: tuple[Gauge, ...]


@dataclass(frozen=True)
class Shares:
    """What a whole is made of, part by part, in one unit (`J`, `s`)."""

    title: str
    note: str
    unit: str
    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Roofline:
    """Layers under the roof of a device: `points` are (layer, operations a byte, operations a second).

    The roof is `peak` (operations a second) or `bandwidth` (bytes a second) times operations a byte, the lower.
    """

    title: str
    note: str
    unit: str
    peak: float
    bandwidth: float
    points: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Curve:
    """Accuracy (0 to 1) by something that is turned; `own` is where the device itself stands."""

    title: str
    note: str
    x_label: str
    own: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Stage:
    """The patches of an image on a grid, row by row, 1 for those that are left behind a reducer."""

    name: str
    columns: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class KeptImage:
    """An image as rows of pixels of one or three levels (0 to 255), and what is left of it stage by stage."""

    label: str
    pixels: tuple[tuple[tuple[int, ...], ...], ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Patches:
    """Which patches of a few images a network keeps."""

    title: str
    note: str
    images: tuple[KeptImage, ...]


@dataclass(frozen=True)
class Histogram:
    """How many samples have each count, `(name, ((count, samples), ...))` a panel; counts go up to `most`."""

    title: str
    note: str
    x_label: str
    most: int
    panels: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]


Picture = Gauges | Shares | Roofline | Curve | Patches | Histogram


def as_plain(picture: Picture) -> dict[str, Any]:
    """The picture as JSON holds it, with its kind.

    >>> as_plain(Shares("Energy", "modelled", "J", (("cells", 1e-9),)))["kind"]
    'shares'
    """
    return {"kind": type(picture).__name__.lower(), **asdict(picture)}
