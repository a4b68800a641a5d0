"""The `distilpose` command. Each subcommand is one file, loaded when it is called."""

from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "serve": "Start the service.",
    "predict": "Poses of photos or folders, without a server.",
    "stream": "Poses of a video or a camera, from a running server.",
    "evaluate": "Measure weights on a COCO-keypoints folder.",
    "calibrate": "Fit scores and spreads to what is true, on held-out people.",
    "card": "Measure weights, and write them with a card of words and figures.",
    "train": "Train a teacher from labels, or a student from a teacher.",
    "data": "Check a data set, or cut its people into a cache.",
    "weights": "Show a weights file's card, or import a published checkpoint.",
    "export": "Write the student as an ONNX or OpenVINO file.",
    "config": "Print the effective settings.",
    "doctor": "Say what this machine offers and what is wrong with it.",
}


class _LazyGroup(click.Group):
    """Knows its commands by name, so that `--help` imports no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"distilpose.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - each file's one promise
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="distilpose")
def main() -> None:
    """Human pose estimation: DistilPose as a service, and what belongs to it."""
