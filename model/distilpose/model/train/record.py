"""Write a run's records: JSON lines, TensorBoard events, pictures of curves and answers."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from distilpose.model.arrays import ImageHWC
from distilpose.model.drawing.encode import encode
from distilpose.model.files import replacing
from distilpose.model.train.validate import EarlyFigures


class Record:
    """Writes a run's folder: `log.jsonl`, `tensorboard/`, `curves.png`, `predictions.png`."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._board: SummaryWriter | None = None

    def on_note(self, text: str) -> None:
        """Write a message about the run."""
        self._append({"kind": "note", "text": text})

    def on_log(self, entry: dict[str, float]) -> None:
        """Write means since the last entry."""
        self._write("train", entry, step=int(entry["step"]))

    def on_figures(self, step: int, figures: EarlyFigures, examples_HWC: ImageHWC) -> None:
        """Write early figures and answers of the averaged weights, and redraw the curves."""
        self._write("figures", {"step": step, **figures._asdict()}, step=step)
        with replacing(self._out / "predictions.png") as unfinished:
            unfinished.write_bytes(encode(examples_HWC, "png"))
        draw_curves(self._out / "log.jsonl", self._out / "curves.png")

    def on_saved(self, step: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Finish the files."""
        if self._board:
            self._board.close()

    def _write(self, kind: str, values: dict[str, Any], *, step: int) -> None:
        self._append({"kind": kind, **values})
        self._board = self._board or SummaryWriter(str(self._out / "tensorboard"))
        for name, value in values.items():
            if name != "step":
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def _append(self, line: dict[str, Any]) -> None:
        with (self._out / "log.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


def draw_curves(log: Path, out: Path) -> None:
    """Draw one panel for each logged number over the steps, as a PNG."""
    series: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in log.read_text("utf-8").splitlines():
        entry = json.loads(line)
        kind = entry.pop("kind")
        if kind == "note":
            continue
        step = entry.pop("step")
        for name, value in entry.items():
            if name != "share":
                series[f"{kind}: {name}"].append((step, value))
    columns = 4
    rows = -(-len(series) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, points) in enumerate(sorted(series.items()), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.grid(alpha=0.3)
    with replacing(out) as unfinished:
        figure.savefig(unfinished, dpi=90)
