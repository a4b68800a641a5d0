"""The tables of docs/scaling.md match the code."""

from sizing import tables


def test_the_document_has_every_table_as_it_is_now() -> None:
    text = tables.DOCUMENT.read_text("utf-8")
    for name in tables.TABLES:
        assert text.count(f"<!-- table: {name} -->") == 1
    assert tables.written(text) == text, "PYTHONPATH=tools python -m sizing.tables"
