"""The page about tokens: its recipe is read, its names exist, its Python runs as printed."""

import re
from pathlib import Path

import torch
import yaml

from spokeshave.fit import Recipe, builtin_recipe
from spokeshave.tokens import inserted_in
from spokeshave.tokens.registry import DECISIONS, RESTS, SCORERS

PAGE = (Path(__file__).parents[1] / "docs" / "tokens.md").read_text()


def test_the_recipes_key_is_the_built_in_ones() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    base = {"network": "digits-transformer", "data": "digits"}
    assert Recipe.parse(base | yaml.safe_load(text)).tokens == builtin_recipe("digits-tokens").tokens
    assert Recipe.parse(base | {"tokens": {"limit": 0.9}}).tokens[0].limit == 0.9


def test_every_name_is_told() -> None:
    for name in (*SCORERS, *DECISIONS, *RESTS):
        assert f"`{name}`" in PAGE


def test_the_python_example_runs() -> None:
    torch.manual_seed(0)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"batches": [(torch.randn(8, 1, 16, 16), torch.randint(0, 10, (8,))) for _ in range(2)]}
    exec(compile(code, "tokens.md", "exec"), names)
    images, network = names["images"], names["network"]
    torch.testing.assert_close(names["scores"], network(images), rtol=1e-4, atol=1e-5)
    assert torch.equal(names["counts"], inserted_in(network).counts[1].long())
