"""The card of a weights file: text by a person and measured figures, combined on one page.

Knows neither networks nor measuring.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from distilpose.model.errors import ConfigError, one_line


class Figure(BaseModel):
    """One measured number, with the information needed to measure it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float
    protocol: str
    """The data, the settings and, where there is one, the command."""
    case: str = ""
    """Distinguishes it from figures of the same name and protocol, such as `flip test`."""


def figure_text(figure: float | None) -> str:
    """A figure with three decimals, a dash for one that is not defined."""
    return "-" if figure is None else f"{figure:.3f}"


class CardText(BaseModel):
    """The part of a card that a person writes, since it cannot be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    source: str
    """Origin of the weights: their making, or the place they were taken from."""
    training_data: str
    licences: tuple[str, ...]
    intended_use: str = ""
    limitations: tuple[str, ...]
    failures: tuple[str, ...] = ()
    """Failures seen in pictures."""


class Card(CardText):
    """The card of a weights file."""

    architecture: str
    """The network's name, such as `distilpose-n`."""
    created: date
    accuracy: tuple[Figure, ...] = ()
    reliability: tuple[Figure, ...] = ()
    """Agreement of scores with probabilities, and of spreads with the scale of the error."""
    cost: tuple[Figure, ...] = ()
    """Size and speed."""
    crops_seen: int | None = None
    """Training crops that the weights have learned from, over all their runs; None if unknown."""
    calibrated: bool
    """True if a calibration is stored with the tensors, which makes scores probabilities."""


def version_of(day: date) -> str:
    """The version of weights that nobody has named: the day they were made on, as 0+20261130."""
    return f"0+{day:%Y%m%d}"


def read_text(path: Path) -> CardText:
    """Read the text of a card from a YAML file.

    Raises:
        ConfigError: the file cannot be read, or a field is missing or unknown.
    """
    try:
        return CardText.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as err:
        raise ConfigError(f"{path}: {one_line(err)}") from err
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f"{path}: is not the text of a card: {err}") from err


def card_markdown(card: Card) -> str:
    """The card as a Markdown page; each protocol appears once, above the table of its figures."""
    scores = "calibrated probabilities" if card.calibrated else "raw scores, not calibrated"
    paragraphs = [
        f"# {card.architecture}, version {card.version}",
        f"Created {card.created}. {card.source}",
        f"Training data: {card.training_data}",
        *([f"Training crops seen: {card.crops_seen:,}."] if card.crops_seen is not None else []),
        f"Scores: {scores}.",
        *_section("Intended use", [card.intended_use]),
        *_section("Accuracy", _tables(card.accuracy) or ["Not measured."]),
        *_section("Scores and spreads", _tables(card.reliability)),
        *_section("Size and speed", _tables(card.cost)),
        *_section("Licences", [_items(card.licences)]),
        *_section("Limitations", [_items(card.limitations)]),
        *_section("Failures", [_items(card.failures)]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _section(title: str, paragraphs: Sequence[str]) -> list[str]:
    """A heading and its paragraphs; nothing if there are no paragraphs."""
    return [f"## {title}", *paragraphs] if any(paragraphs) else []


def _items(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _tables(figures: Iterable[Figure]) -> list[str]:
    """For each protocol, its text and a table with one row per case and one column per name."""
    return [
        paragraph
        for protocol, measured in groupby(figures, key=lambda figure: figure.protocol)
        for paragraph in (protocol, _table(list(measured)))
    ]


def _table(figures: Sequence[Figure]) -> str:
    names = list(dict.fromkeys(figure.name for figure in figures))
    cases = list(dict.fromkeys(figure.case for figure in figures))
    values = {(figure.case, figure.name): f"{figure.value:g}" for figure in figures}
    rows = [[case, *(values.get((case, name), "") for name in names)] for case in cases]
    lines = [["", *names], ["---", *("---:" for _ in names)], *rows]
    first = 0 if any(cases) else 1
    return "\n".join(f"| {' | '.join(line[first:])} |" for line in lines)
