"""A small real detector, Yolo-FastestV2 for COCO's 80 classes, and its mean average precision on a sample of COCO.

`python -m papers.detector` evaluates it in float32 on 128 images: 31.3 ± 2.9 % of mAP@0.5, the deviation over images
drawn anew from these. The 34.1 % of the shared data's notes, from code that is not there, lie within it.
"""

import io
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.record import take_no_arguments
from spokeshave.locate import data_folder

SIDE, CLASSES = 352, 80
ANCHORS = (
    ((12.64, 19.39), (37.88, 51.48), (55.71, 138.31)),
    ((126.91, 78.23), (131.57, 214.55), (279.92, 258.87)),
)
LEAST_SCORE, OVERLAP, MATCH = 0.01, 0.45, 0.5  # of suppression, and of a detection that counts


class Block(nn.Module):
    """ShuffleNetV2's: half of the channels as they are (or a strided projection), half through three convolutions."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        read = channels if stride > 1 else channels // 2
        made = width - read if stride > 1 else width // 2
        self.stride = stride
        self.branch_main = nn.Sequential(
            *_convolution(read, made, 1),
            nn.ReLU(),
            *_convolution(made, made, 3, stride, made),
            *_convolution(made, made, 1),
            nn.ReLU(),
        )
        if stride > 1:
            self.branch_proj = nn.Sequential(
                *_convolution(channels, channels, 3, stride, channels),
                *_convolution(channels, channels, 1),
                nn.ReLU(),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)
        return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)


def _convolution(read: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(read, made, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(made)]


class Head(nn.Module):
    """Two depthwise 5 x 5 convolutions, each with a pointwise one."""

    def __init__(self) -> None:
        super().__init__()
        half = lambda: [*_convolution(72, 72, 5, 1, 72), nn.ReLU(), *_convolution(72, 72, 1)]  # noqa: E731
        self.block = nn.Sequential(*half(), *half())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Detector(nn.Module):
    """`[N, 3, 352, 352]`, blue first, 0 to 1; for each of two scales: boxes, objectness, class scores, raw."""

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 96, 192)
        stages = {
            f"stage{i + 2}": nn.Sequential(
                Block(widths[i], widths[i + 1], 2),
                *(Block(widths[i + 1], widths[i + 1], 1) for _ in range(n - 1)),
            )
            for i, n in enumerate((4, 8, 4))
        }
        first = nn.Sequential(*_convolution(3, 24, 3, 2), nn.ReLU())
        self.backbone = nn.ModuleDict({"first_conv": first, **stages})
        heads = {f"{kind}_head_{scale}": Head() for kind in ("cls", "reg") for scale in (2, 3)}
        joins = {
            "conv1x1_2": nn.Sequential(*_convolution(96 + 192, 72, 1), nn.ReLU()),
            "conv1x1_3": nn.Sequential(*_convolution(192, 72, 1), nn.ReLU()),
        }
        self.fpn = nn.ModuleDict({**joins, **heads})
        self.output_reg_layers = nn.Conv2d(72, 12, 1)
        self.output_obj_layers = nn.Conv2d(72, 3, 1)
        self.output_cls_layers = nn.Conv2d(72, CLASSES, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.max_pool2d(self.backbone["first_conv"](x), 3, 2, 1)
        middle = self.backbone["stage3"](self.backbone["stage2"](x))
        deep = self.backbone["stage4"](middle)
        upper = F.interpolate(deep, scale_factor=2)
        maps = {2: self.fpn["conv1x1_2"](torch.cat((upper, middle), 1)), 3: self.fpn["conv1x1_3"](deep)}
        found: list[Tensor] = []
        for scale, features in maps.items():
            scored = self.fpn[f"cls_head_{scale}"](features)
            boxes = self.output_reg_layers(self.fpn[f"reg_head_{scale}"](features))
            found += [boxes, self.output_obj_layers(scored), self.output_cls_layers(scored)]
        return tuple(found)


def pretrained() -> Detector:
    """The detector with its published weights."""
    network = Detector()
    path = data_folder("detectors") / "yolo_fastestv2_coco.pth"
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def sample(split: str, count: int) -> tuple[Tensor, list[Tensor]]:
    """Images `[N, 3, 352, 352]` of a split (train or val) and their boxes, `[n, 5]`: class, and corners in pixels."""
    from PIL import Image

    images, truth = [], []
    with zipfile.ZipFile(data_folder("coco_sample") / "coco256.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(f"images/{split}2017/"))
        for name in names[:count]:
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., ::-1]
            images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255)
            label = name.replace("images", "labels").replace("avif", "txt")
            text = archive.read(label).decode() if label in archive.namelist() else ""
            rows = torch.tensor([float(word) for word in text.split()]).view(-1, 5)
            centre, size = rows[:, 1:3] * SIDE, rows[:, 3:] * SIDE
            truth.append(torch.cat((rows[:, :1], centre - size / 2, centre + size / 2), 1))
    return torch.stack(images), truth


def detections(raw: tuple[Tensor, ...]) -> list[Tensor]:
    """Detections of each image, `[n, 6]`: class, score, corners; overlapping ones of a class suppressed."""
    scales = [_decoded(raw[3 * i], raw[3 * i + 1], raw[3 * i + 2], ANCHORS[i]) for i in range(2)]
    return [_suppressed(torch.cat(parts)) for parts in zip(*scales, strict=True)]


def _decoded(
    boxes: Tensor, objects: Tensor, classes: Tensor, anchors: tuple[tuple[float, float], ...]
) -> Tensor:
    """`[N, cells * 3, 6]` of one scale."""
    samples, _, rows, columns = boxes.shape
    stride = SIDE / rows
    raw = boxes.sigmoid().view(samples, 3, 4, rows, columns)
    cells = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"))
    centre = (2 * raw[:, :, :2] - 0.5 + cells) * stride
    size = (2 * raw[:, :, 2:]).square() * torch.tensor(anchors).view(1, 3, 2, 1, 1)
    share, best = classes.softmax(1).max(1)
    score = objects.sigmoid() * share[:, None]
    best = best[:, None].expand_as(score)
    columns_of = torch.stack((best.float(), score), 2)
    whole = torch.cat((columns_of, centre - size / 2, centre + size / 2), 2)
    return whole.permute(0, 3, 4, 1, 2).reshape(samples, -1, 6)


def _suppressed(found: Tensor) -> Tensor:
    found = found[found[:, 1] > LEAST_SCORE]
    found = found[found[:, 1].argsort(descending=True)][:1000]
    apart = found[:, 2:] + found[:, :1] * 10 * SIDE  # classes do not overlap
    overlap, kept = overlaps(apart, apart), []
    alive = torch.ones(len(found), dtype=torch.bool)
    for index in range(len(found)):
        if alive[index]:
            kept.append(index)
            alive &= overlap[index] <= OVERLAP
    return found[kept]


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes by corners, `[first, second]`."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def mean_average_precision(found: list[Tensor], truth: list[Tensor]) -> float:
    """mAP at an overlap of 0.5: precision by recall, every point, averaged over the classes that occur."""
    classes = torch.cat(truth)[:, 0].unique()
    return float(np.mean([_average_precision(found, truth, each) for each in classes.tolist()]))


def _average_precision(found: list[Tensor], truth: list[Tensor], kind: float) -> float:
    hits, total = [], 0
    for mine, true in zip(found, truth, strict=True):
        mine, true = mine[mine[:, 0] == kind], true[true[:, 0] == kind]
        total += len(true)
        hits += [*_hits(mine, true)]
    if not hits:
        return 0.0
    hits.sort(key=lambda hit: -hit[0])
    right = np.cumsum([hit[1] for hit in hits])
    precision, recall = right / np.arange(1, len(hits) + 1), right / total
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate(([0.0], recall))) * precision))


def _hits(mine: Tensor, true: Tensor) -> Iterator[tuple[float, bool]]:
    """Score of each detection, best first, and whether it found a box that none found before."""
    free = torch.ones(len(true), dtype=torch.bool)
    shared = overlaps(mine[:, 2:], true[:, 1:])
    for row, score in zip(shared, mine[:, 1].tolist(), strict=True):
        open_ones = torch.where(free, row, torch.zeros_like(row))
        best = int(open_ones.argmax()) if len(true) else -1
        hit = best >= 0 and float(open_ones[best]) >= MATCH
        if hit:
            free[best] = False
        yield score, hit


def found_in(network: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> list[Tensor]:
    """What a network, or a deployment of it, detects in each image."""
    found: list[Tensor] = []
    with torch.inference_mode():
        for part in images.split(16):
            found += detections(network(part))
    return found


def evaluate(network: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, truth: list[Tensor]) -> float:
    """mAP@0.5 of a network or a deployment of it."""
    return mean_average_precision(found_in(network, images), truth)


def deviation(found: list[Tensor], truth: list[Tensor], draws: int = 20) -> float:
    """Standard deviation of the mAP over samples of as many images, drawn from these with replacement."""
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(draws):
        drawn = torch.randint(len(truth), (len(truth),), generator=generator).tolist()
        values.append(mean_average_precision([found[i] for i in drawn], [truth[i] for i in drawn]))
    return float(np.std(values, ddof=1))


if __name__ == "__main__":
    take_no_arguments(__doc__)
    images, truth = sample("val", 128)
    found = found_in(pretrained(), images)
    print(f"mAP@0.5 {mean_average_precision(found, truth):.1%} ± {100 * deviation(found, truth):.1f}")
