"""`distilpose export`, as a user calls it."""

from pathlib import Path

from click.testing import CliRunner

from distilpose.cli import main


def test_export_writes_a_checked_file_and_says_how_near_it_is(tmp_path: Path) -> None:
    out = tmp_path / "student.xml"
    done = CliRunner().invoke(main, ["export", str(out), "--format", "openvino"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"wrote {out}: distilpose-n ")
    assert "openvino, within " in done.output
    assert out.is_file()
    assert out.with_suffix(".bin").is_file()


def test_a_wrong_suffix_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", str(tmp_path / "s.pb"), "--format", "onnx"])
    assert done.exit_code == 1
    assert done.output.strip().endswith("s.pb: a file for onnx ends in .onnx")
