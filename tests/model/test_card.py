"""Cards for readers, and the texts that people write for them."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from distilpose.model.card import Card, CardText, Figure, card_markdown, read_text
from distilpose.model.errors import ConfigError

TEXTS = Path(__file__).parents[2] / "docs" / "cards"
WORDS: dict[str, Any] = {
    "version": "1",
    "source": "Drawn at random.",
    "training_data": "none",
    "licences": ["Apache-2.0"],
    "limitations": ["finds nothing"],
}


def card(**fields: Any) -> Card:
    measured = {"architecture": "distilpose-s", "created": date(2024, 5, 6), "calibrated": False}
    return Card(**{**WORDS, **measured, **fields})


def figure(name: str, value: float, case: str = "", *, protocol: str = "Two crops.") -> Figure:
    return Figure(name=name, value=value, protocol=protocol, case=case)


def write_text(path: Path, **fields: Any) -> Path:
    path.write_text(yaml.safe_dump(WORDS | fields))
    return path


def test_a_page_has_words_and_figures_in_sections() -> None:
    whole = card(
        intended_use="None.",
        accuracy=(figure("AP", 0.25),),
        reliability=(figure("ECE", 0.125),),
        cost=(figure("GMACs", 2.7),),
        failures=("sees nobody",),
    )
    assert card_markdown(whole) == (
        "# distilpose-s, version 1\n\n"
        "Created 2024-05-06. Drawn at random.\n\n"
        "Training data: none\n\n"
        "Scores: raw scores, not calibrated.\n\n"
        "## Intended use\n\nNone.\n\n"
        "## Accuracy\n\nTwo crops.\n\n| AP |\n| ---: |\n| 0.25 |\n\n"
        "## Scores and spreads\n\nTwo crops.\n\n| ECE |\n| ---: |\n| 0.125 |\n\n"
        "## Size and speed\n\nTwo crops.\n\n| GMACs |\n| ---: |\n| 2.7 |\n\n"
        "## Licences\n\n- Apache-2.0\n\n"
        "## Limitations\n\n- finds nothing\n\n"
        "## Failures\n\n- sees nobody\n"
    )


def test_what_is_not_known_has_no_section_and_what_is_not_measured_says_so() -> None:
    page = card_markdown(card())
    assert "## Accuracy\n\nNot measured.\n\n## Licences" in page
    for title in ("Intended use", "Scores and spreads", "Size and speed", "Failures"):
        assert title not in page


def test_figures_of_one_protocol_share_a_table_with_a_row_a_case() -> None:
    accuracy = (
        figure("AP", 0.3, "flip test"),
        figure("AR", 0.4, "flip test"),
        figure("AR", 0.35, "no flip test"),
        figure("AP", 0.2, protocol="Other people."),
    )
    assert (
        "Two crops.\n\n"
        "|  | AP | AR |\n"
        "| --- | ---: | ---: |\n"
        "| flip test | 0.3 | 0.4 |\n"
        "| no flip test |  | 0.35 |\n\n"
        "Other people.\n\n"
        "| AP |\n"
        "| ---: |\n"
        "| 0.2 |\n"
    ) in card_markdown(card(accuracy=accuracy))


def test_a_page_says_whether_scores_are_probabilities() -> None:
    assert "Scores: calibrated probabilities.\n" in card_markdown(card(calibrated=True))


def test_a_card_from_before_use_and_failures_were_asked_for_is_read() -> None:
    fields = ("intended_use", "failures", "reliability", "cost")
    old = card().model_dump(mode="json", exclude=set(fields))
    assert Card.model_validate(old) == card()


def test_words_are_read_from_yaml(tmp_path: Path) -> None:
    path = write_text(tmp_path / "card.yaml", failures=["sees nobody"])
    assert read_text(path) == CardText(**WORDS, failures=("sees nobody",))


def test_words_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    path = write_text(tmp_path / "card.yaml", licence="Apache-2.0", version=None)
    with pytest.raises(ConfigError) as raised:
        read_text(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "version: " in str(raised.value)
    assert "licence: " in str(raised.value)


@pytest.mark.parametrize("content", [b"version: [", b"\xff\xfe\x00"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "card.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"card\.yaml: is not the text of a card"):
        read_text(path)


TEMPLATE = TEXTS / "template.yaml"


def test_the_template_has_every_field_and_claims_nothing() -> None:
    words = read_text(TEMPLATE)
    assert words.model_fields_set == set(CardText.model_fields)
    texts = (words.source, words.training_data, words.intended_use)
    for text in (*texts, *words.licences, *words.limitations):
        assert text.startswith("Not stated yet")
    assert not words.failures


@pytest.mark.parametrize(
    "path", sorted(set(TEXTS.iterdir()) - {TEMPLATE}), ids=lambda path: path.stem
)
def test_the_texts_of_our_own_cards_say_what_they_should(path: Path) -> None:
    words = read_text(path)
    assert "not for" in words.intended_use.lower()
    assert len(words.licences) >= 3


def test_the_packaged_students_card_says_whose_its_trunk_is() -> None:
    words = read_text(TEXTS / "distilpose-n.yaml")
    assert "Ultralytics' YOLO26n-pose" in words.source
    assert any("AGPL-3.0" in licence for licence in words.licences)
    assert words.failures
