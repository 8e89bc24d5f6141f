"""HeatViT's token selector as a folder: Verilog, an image of random tokens, and what must be written of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from spokeshave.compiler.folder import write_folder
from spokeshave.devices.fpga.verilog.folder import EXPECTED, KIND, RECORD, Written, readme
from spokeshave.devices.fpga.verilog.module import Module, modules_of
from spokeshave.devices.fpga.verilog.selection import Selected, select_tokens, token_selector
from spokeshave.devices.fpga.verilog.selection_run import selection_cycles, selection_vectors
from spokeshave.devices.fpga.verilog.simulation import write_modules
from spokeshave.devices.fpga.verilog.vectors import INPUTS, vector_bench, vector_words
from spokeshave.devices.fpga.verilog.words import join_words
from spokeshave.errors import SpokeshaveError

NAME, LARGEST = "token selector", 255
MOST = 1 << 20  # tokens, and bytes of one: more than any image has, and what memory here holds
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class SelectorSettings:
    """Tokens of an image at most, bytes of each, bytes a cycle, and the score from which a token stays."""

    tokens: int
    width: int
    columns: int = 16
    threshold: int = 128

    def __post_init__(self) -> None:
        for name in ("tokens", "width", "columns"):
            if not 1 <= getattr(self, name) <= MOST:
                raise SpokeshaveError(
                    f"{name} of a token selector must be from 1 to {MOST}, not {getattr(self, name)}"
                )
        if self.tokens * self.width > MOST_BYTES:
            raise SpokeshaveError(
                f"{self.tokens} tokens of {self.width} bytes are more than the {MOST_BYTES} bytes of the largest image "
                "that is written"
            )
        if self.width % self.columns:
            raise SpokeshaveError(
                f"a token of {self.width} bytes is no whole number of words of {self.columns}: columns must divide it"
            )
        if not 0 <= self.threshold <= LARGEST:
            raise SpokeshaveError(
                f"threshold must be from 0 to {LARGEST}, as scores are, not {self.threshold}"
            )


def write_selector(settings: SelectorSettings, folder: Path | str) -> Written:
    """Write the selector and an image of random scores and tokens to a folder, new, empty or such a one."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, LARGEST + 1, (settings.tokens,), generator=generator)
    tokens = torch.randint(-128, 128, (settings.tokens, settings.width), generator=generator)
    selected = select_tokens(scores, tokens, settings.threshold)
    words = settings.width // settings.columns
    modelled = selection_cycles(settings.tokens, words, settings.tokens - len(selected.kept))
    selector = token_selector(settings.columns, words, settings.tokens)
    given = selection_vectors([(scores, tokens)], settings.threshold, settings.columns)
    vectors = vector_words(selector, given)
    bench = vector_bench(selector, list(given), len(vectors))

    def write(whole: Path) -> None:
        files = write_modules(bench, whole)
        (whole / INPUTS).write_text("".join(f"{word}\n" for word in vectors))
        expected = expected_words(selector, selected, settings)
        (whole / EXPECTED).write_text("".join(f"{word}\n" for word in expected))
        values = {
            "files": " ".join(files),
            "cycles": modelled,
            "kept": len(selected.kept),
            **asdict(settings),
        }
        (whole / "README.md").write_text(readme("SELECTOR.md", values))
        record = {"layer": NAME, "engine": asdict(settings), "modelled_cycles": modelled}
        (whole / RECORD).write_text(json.dumps(record, indent=1) + "\n")

    write_folder(Path(folder), KIND, RECORD, write)
    return Written(NAME, len(modules_of(bench)), modelled)


def expected_words(selector: Module, selected: Selected, settings: SelectorSettings) -> list[str]:
    """All outputs in the cycles in which something is written; a package has the number behind the last token's."""
    kept, packages = len(selected.kept), len(selected.tokens) - len(selected.kept)
    words = settings.width // settings.columns
    rows = selected.tokens.reshape(-1, settings.columns)
    numbers = torch.cat((selected.kept, torch.full((packages,), settings.tokens)))
    package = torch.arange(len(numbers)) >= kept

    def by_word(values: Tensor) -> Tensor:
        return values.repeat_interleave(words)[:, None]

    lines = join_words(
        (torch.ones_like(rows[:, :1]), 1),
        (by_word(package.long()), 1),
        (by_word(numbers), selector.port("index").bits),
        (torch.arange(len(rows))[:, None], selector.port("address").bits),
        (rows, 8),
    )
    digits = -(-sum(port.bits for port in selector.ports if port.direction == "output") // 4)
    return [line[-digits:] for line in lines]
