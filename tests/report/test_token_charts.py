"""Pictures of tokens: what is gone is covered, and images survive the journey through a PNG."""

import io
import re
from xml.etree import ElementTree

import pytest
import torch

from spokeshave.fit.token_pictures import count_histogram, kept_patches
from spokeshave.networks import VisionTransformer
from spokeshave.pictures import as_plain
from spokeshave.report.device_charts import drawn
from spokeshave.report.page import page
from spokeshave.report.token_charts import png
from spokeshave.tokens import CLSAttention, TokenReducer, TopK, insert


def reduced(side=8):
    network = VisionTransformer(1, side, 2, width=8, heads=2, blocks=3)
    insert(network, [TokenReducer(place, CLSAttention(), TopK(0.5)) for place in (1, 2)])
    return network


def test_every_patch_that_is_gone_is_covered():
    images, labels = torch.randn(6, 1, 8, 8), torch.arange(6)
    picture = as_plain(kept_patches(reduced(), images, labels))
    assert len(picture["images"]) == 4
    assert [sum(stage["kept"]) for stage in picture["images"][0]["stages"]] == [8, 4]
    chart = drawn(picture)
    ElementTree.fromstring(chart)
    covers = re.findall(r'class="gone" d="([^"]*)"', chart)
    assert [cover.count("M") for cover in covers] == [8, 12] * 4
    assert chart.count("<image ") == 3 * 4


def test_levels_are_those_of_the_image():
    picture = kept_patches(reduced(), torch.arange(64.0).view(1, 1, 8, 8), torch.zeros(1))
    assert [row[0] for row in picture.images[0].pixels[0][:2]] == [0, 4]
    assert picture.images[0].pixels[7][7] == (255,)
    large = kept_patches(reduced(128), torch.randn(1, 1, 128, 128), torch.zeros(1))
    assert len(large.images[0].pixels) == len(large.images[0].pixels[0]) == 64


def test_a_png_is_read_back():
    image = pytest.importorskip("PIL.Image")
    found = image.open(io.BytesIO(png([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [250, 251, 252]]])))
    assert (found.size, found.mode) == ((2, 2), "RGB")
    assert [found.getpixel((x, y)) for y in (0, 1) for x in (0, 1)] == [
        (1, 2, 3),
        (4, 5, 6),
        (7, 8, 9),
        (250, 251, 252),
    ]


def reducers():
    counts = {"mean": 9.5, "deviation": 0.5, "tail": 10, "least": 9, "most": 10, "images": [[9, 3], [10, 6]]}
    names = {"scorer": {"name": "learned"}, "decision": {"name": "threshold"}, "rest": {"name": "package"}}
    return [{"before": 1, "keep": 0.5, **names, "tokens": counts}]


def test_the_histogram_has_a_bar_for_every_count():
    chart = drawn(as_plain(count_histogram(reducers(), 17)))
    ElementTree.fromstring(chart)
    assert "<title>9 tokens: 3</title>" in chart
    assert [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', chart)] == [28.0, 56.0]


def test_the_page_tells_of_tokens(result):
    picture = as_plain(count_histogram(reducers(), 17))
    seconds = {"mean": 1e-4, "deviation": 1e-5, "tail": 2e-4}
    tokens = {"all_tokens": 17, "reducers": reducers(), "image_seconds": seconds, "pictures": [picture]}
    text = page(result | {"compression": 1.0, "tokens": tokens})
    assert "9.5 of 17 tokens reach the last block, 4.2x the speed of" in text
    assert "Tokens of an image" in text
    assert "at most 200 µs in 95 % of cases" in text
