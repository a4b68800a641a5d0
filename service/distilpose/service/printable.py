"""Text from callers, made fit for messages: log lines, error details, headers."""

from typing import Final

MOST_CHARACTERS: Final = 200
"""The most that a message shows of a text from a caller."""


def printable(text: str) -> str:
    r"""The text with every character that is not printable as its escape, such as `\n` or `\x1b`.

    These are controls, line breaks, formats (which turn the direction of writing), and lone
    surrogates, which no encoding accepts.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def excerpt(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """The printable text, at most `most` characters long; an ellipsis marks a cut."""
    shown = printable(text[:most])
    if len(text) <= most and len(shown) <= most:
        return shown
    return shown[: most - 1] + "…"
