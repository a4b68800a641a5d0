"""The messages of commands for deliberate errors and for missing extras."""

from pathlib import Path

import click
import pytest

from distilpose.cli.options import (
    SHARE,
    progress,
    refuse_sigma_without,
    reported_errors,
    said_of_frames,
    together,
)
from distilpose.model.errors import WeightsError


def test_an_error_made_on_purpose_is_one_line() -> None:
    with pytest.raises(click.ClickException, match=r"x\.pt: no such file"), reported_errors():
        raise WeightsError("x.pt: no such file")


def test_a_missing_extra_is_named_with_what_installs_it() -> None:
    missing = ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")
    install = r"pip install 'distilpose\[train\]'"
    with pytest.raises(click.ClickException, match=install), reported_errors():
        raise missing


def test_a_bug_is_not_dressed_up() -> None:
    missing = ModuleNotFoundError("No module named 'ours'", name="ours")
    with pytest.raises(ModuleNotFoundError), reported_errors():
        raise missing


def test_ellipses_need_a_picture_to_be_drawn_on() -> None:
    refuse_sigma_without(None, sigma=False)
    refuse_sigma_without(Path("drawn"), sigma=True)
    with pytest.raises(click.UsageError, match="--sigma: only with --out"):
        refuse_sigma_without(None, sigma=True)


@pytest.mark.parametrize("text", ["0", "1", "0.25"])
def test_a_share_is_from_nothing_to_all(text: str) -> None:
    assert SHARE.convert(text, None, None) == float(text)


@pytest.mark.parametrize("text", ["-0.01", "1.01", "nan", "inf", "high"])
def test_a_share_is_a_number_from_0_to_1(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SHARE.convert(text, None, None)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"nope/x: No such file"), reported_errors():
        (tmp_path / "nope" / "x").write_text("")
    with pytest.raises(click.ClickException, match=r"^No space left$"), reported_errors():
        raise OSError(28, "No space left")


def test_a_reader_that_has_gone_is_left_to_click() -> None:
    with pytest.raises(BrokenPipeError), reported_errors():
        raise BrokenPipeError


def test_options_together_are_shown_in_their_order() -> None:
    @click.command()
    @together(click.option("--first"), together(click.option("--second"), click.option("--third")))
    def command(**_: object) -> None: ...

    assert [option.name for option in command.params] == ["first", "second", "third"]


def test_what_a_command_expects_besides_is_one_line_too() -> None:
    with pytest.raises(KeyError), reported_errors():
        raise KeyError("x")
    with pytest.raises(click.ClickException, match="x"), reported_errors(KeyError):
        raise KeyError("x")


def test_a_bar_writes_nothing_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for hidden in (False, True):
        with progress("photos", hidden=hidden) as on_progress:
            on_progress(1, None)
            on_progress(2, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("done", "total", "seconds", "said"),
    [
        (0, 500, 1.0, "0 frames"),
        (30, None, 2.0, "30 frames, 15.0 a second"),
        (30, 60, 2.0, "30 frames, 15.0 a second, about 2 s left"),
        (100, 3100, 10.0, "100 frames, 10.0 a second, about 5 min left"),
        (100, 100_100, 10.0, "100 frames, 10.0 a second, about 3 h left"),
        (61, 60, 4.0, "61 frames, 15.2 a second"),  # the header lied
    ],
)
def test_progress_of_a_video_is_a_guess_in_words(
    done: int, total: int | None, seconds: float, said: str
) -> None:
    assert said_of_frames(done, total, seconds) == said
