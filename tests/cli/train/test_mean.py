"""`distilpose train mean`, as a user calls it."""

from pathlib import Path

from click.testing import CliRunner, Result

from distilpose.cli.train import command
from distilpose.model.header import read_card
from distilpose.model.load import packaged_student
from distilpose.model.weights import read_tensors


def mean(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["mean", *map(str, arguments)])


def test_the_mean_of_a_run_with_itself_is_that_run_but_for_its_calibration(tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    called = mean(packaged_student(), packaged_student(), "--out", out)
    assert called.exit_code == 0, called.output
    assert called.output.startswith(f"wrote {out}: Mean of the weights of 2 runs: distilpose-n ")
    before, after = read_tensors(packaged_student())[0], read_tensors(out)[0]
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert not read_card(out).calibrated


def test_no_weights_that_are_read_are_replaced(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(packaged_student().read_bytes())
    called = mean(packaged_student(), weights, "--out", weights, "--overwrite")
    assert called.exit_code == 2
    assert "weights.safetensors" in called.output
    assert weights.read_bytes() == packaged_student().read_bytes()


def test_a_file_that_is_no_weights_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    other, out = tmp_path / "notes.txt", tmp_path / "mean.safetensors"
    other.write_text("no weights")
    called = mean(packaged_student(), other, "--out", out)
    assert called.exit_code == 1
    assert "notes.txt" in called.output
    assert not out.exists()
