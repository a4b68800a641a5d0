"""Files of training runs, checked before the work."""

from pathlib import Path

import click
import pytest

from distilpose.cli.train.options import writing_runs


def refused(folder: Path, reads: list[Path | None], *, overwrite: bool = False) -> str:
    with (
        pytest.raises(click.UsageError) as caught,
        writing_runs({folder: "distilpose-n"}, reads, command="student", overwrite=overwrite),
    ):
        pass
    return str(caught.value)


def test_weights_that_a_run_starts_from_are_never_replaced(tmp_path: Path) -> None:
    start = tmp_path / "distilpose-n.safetensors"
    start.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(start)
    for overwrite in (False, True):
        text = refused(tmp_path, [tmp_path / "link"], overwrite=overwrite)
        assert "would replace what is read" in text
    assert start.read_bytes() == b"mine"


def test_somebodys_weights_are_replaced_only_if_that_was_asked_for(tmp_path: Path) -> None:
    mine = tmp_path / "distilpose-n.safetensors"
    mine.write_bytes(b"mine")
    assert f"--out {mine}: is there already" in refused(tmp_path, [])
    with writing_runs({tmp_path: "distilpose-n"}, [], command="student", overwrite=True):
        mine.write_bytes(b"ours")
    with writing_runs({tmp_path: "distilpose-n"}, [], command="student", overwrite=False):
        pass


@pytest.mark.parametrize(
    ("name", "content"), [("checkpoint.pt", "x"), ("log.jsonl", '{"kind": "note", "text": "x"}\n')]
)
def test_a_run_that_has_begun_is_its_own(tmp_path: Path, name: str, content: str) -> None:
    weights = tmp_path / "distilpose-n.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / name).write_text(content)
    assert "would replace what is read" in refused(tmp_path, [weights])
    with writing_runs({tmp_path: "distilpose-n"}, [], command="student", overwrite=False):
        pass


def test_a_table_is_replaced_where_an_earlier_one_was_written(tmp_path: Path) -> None:
    page = tmp_path / "ablation.md"
    for text in ("first", "second"):
        with writing_runs({}, [], command="ablation", overwrite=False, page=page):
            page.write_text(text)
    page.write_text("mine")
    with (
        pytest.raises(click.UsageError, match="is there already"),
        writing_runs({}, [], command="ablation", overwrite=False, page=page),
    ):
        pass
