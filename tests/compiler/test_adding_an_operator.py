"""The page on adding an operator, followed to the letter."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from spokeshave.compiler.compile import build, generate
from spokeshave.compiler.dynamic.forms import FORMS
from spokeshave.compiler.emit import lower, source
from spokeshave.compiler.importer.table import OPERATORS
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.reference import RUNNERS
from spokeshave.compiler.verify import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-operator.md"
TABLES = (OPERATORS, RUNNERS, CHECKS, source.KERNEL_TEXTS, lower.LOWERINGS, FORMS)


class Sums(nn.Module):
    def forward(self, x):
        return x.cumsum(1).relu() + (2 * x).cumsum(1), x.cumsum(2)


@pytest.fixture
def page(monkeypatch) -> Iterator[None]:
    before = [dict(table) for table in TABLES]
    monkeypatch.setattr(lower, "WRITE_TRUE_ELEMENTS_ONLY", lower.WRITE_TRUE_ELEMENTS_ONLY)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    yield
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)


def test_it_runs_with_a_kernel_and_says_what_has_none(page) -> None:
    x = torch.randn(3, 19, 5)
    deployment = NativeDeployment(*build(generate(Sums(), x)))
    ((reason,),) = [[stage.reason for stage in deployment.fallen_out]]
    assert reason == "a cumulative sum along another axis than the tokens has no kernel"
    for threads in (1, 2):
        deployment.threads = threads
        for sample in x.split(1):
            for result, wanted in zip(deployment(sample), Sums()(sample), strict=True):
                torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-5)


def test_its_length_may_change(page) -> None:
    network, x = nn.Sequential(nn.Linear(5, 7), Running()).eval(), torch.randn(2, 19, 5)
    deployment = NativeDeployment(*build(generate(network, x, dynamic={0: 1})))
    for length in (19, 1, 8):
        torch.testing.assert_close(deployment(x[:, :length]), network(x[:, :length]), rtol=1e-5, atol=1e-5)


class Running(nn.Module):
    def forward(self, x):
        return x.cumsum(1)
