"""The part of the house's rules for English that a program can check."""

import ast
import re
from collections.abc import Iterator
from typing import Final

NOUN_CLAUSE: Final = re.compile(
    r"\s*(What|Whether|How|Who|Whom|Whose|Where|When|Which|Why)(ever)?\b"
)
"""The start of a text that is a noun clause ("Whether it is open.") instead of a statement."""


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """The line and text of each docstring in a module, including those of fields."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        yield statement.lineno, text
