"""Sizes of files and functions of the package; fails where one has grown out of hand.

Usage: python tools/size_report.py [folder]
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

PACKAGE = Path(__file__).parent.parent / "src" / "spokeshave"
MOST_FILE_LINES = 500
LONG_FUNCTION, MOST_FUNCTION_LINES = 60, 80


@dataclass(frozen=True, order=True)
class Size:
    """Lines of a file or function."""

    lines: int
    where: str


def file_sizes(folder: Path) -> list[Size]:
    """Every Python file, the longest last."""
    return sorted(
        Size(len(path.read_text(encoding="utf-8").splitlines()), str(path.relative_to(folder)))
        for path in folder.rglob("*.py")
    )


def function_sizes(folder: Path) -> list[Size]:
    """Every function and method, docstring counted and decorators not, the longest last."""
    return sorted(
        size
        for path in folder.rglob("*.py")
        for size in _functions(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(folder)))
    )


def _functions(tree: ast.AST, where: str) -> Iterator[Size]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield Size(node.end_lineno - node.lineno + 1, f"{where}:{node.lineno} {node.name}")


def summary(kind: str, sizes: list[Size]) -> str:
    """One line: how many, median, 90th percentile, the longest."""
    lines = [size.lines for size in sizes]
    tenth = quantiles(lines, n=10, method="inclusive")[-1] if len(lines) > 1 else lines[0]
    longest = f"longest {sizes[-1].lines} ({sizes[-1].where})"
    return f"{len(sizes):5} {kind:10} median {median(lines):g}, 90 % within {tenth:g}, {longest}"


def main(folder: Path) -> int:
    """Print the report; 1 when something is above its limit."""
    files, functions = file_sizes(folder), function_sizes(folder)
    print(f"{sum(size.lines for size in files)} lines")
    print(summary("files", files))
    print(summary("functions", functions))
    for size in functions:
        if size.lines > LONG_FUNCTION:
            print(f"long function: {size.where}, {size.lines} lines")
    beyond = [size for size in files if size.lines > MOST_FILE_LINES]
    beyond += [size for size in functions if size.lines > MOST_FUNCTION_LINES]
    for size in beyond:
        print(f"too long: {size.where}, {size.lines} lines", file=sys.stderr)
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE))
