"""`distilpose card`: weights with a card of a person's words and of figures measured here."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from distilpose.cli.figures import (
    AP_AS_SERVED,
    CALIBRATED_CASE,
    CALIBRATED_LIMITATION,
    COCO_NAMES,
    RAW_CASE,
    evaluate_sources,
    figure_text,
    keypoints_by_group,
    reliability_figures,
)
from distilpose.cli.options import device_options, reported_errors
from distilpose.cli.outputs import OUT_FILE, refuse_replacing, trouble_of_file

if TYPE_CHECKING:
    from distilpose.model.card import Card, CardText, Figure
    from distilpose.model.load import Models
    from distilpose.model.measure.evaluate import BoxesFrom, Report

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_SUFFIX: Final = ".safetensors"


class _Protocol(NamedTuple):
    """One way of measuring."""

    boxes: "BoxesFrom"
    flip_test: bool

    @property
    def case(self) -> str:
        """In words, for the rows of a table."""
        return f"{self.boxes} boxes, {'flip test' if self.flip_test else 'no flip test'}"


_PLAIN: Final = _Protocol("ground-truth", flip_test=False)
_PROTOCOLS: Final = (
    _Protocol("ground-truth", flip_test=True),
    _PLAIN,
    _Protocol("detector", flip_test=True),
    _Protocol("detector", flip_test=False),
)


@click.command()
@click.argument("weights", type=_FILE)
@click.option("--text", required=True, type=_FILE, help="YAML file with the words of the card.")
@click.option("--eval", "folder", required=True, type=_FOLDER, help="People to measure on.")
@click.option("--out", required=True, type=OUT_FILE, help="NAME.safetensors")
@click.option(
    "--boxes",
    type=click.Choice(["ground-truth", "detector", "both"]),
    default="both",
    show_default=True,
    help="Whose boxes the people are found in; a teacher's are always ground truth.",
)
@click.option("--detector", type=_FILE, help="Detection weights; packaged by default.")
@click.option("--limit", type=click.IntRange(1), help="Only the first pictures of each source.")
@device_options
def command(
    weights: Path,
    text: Path,
    folder: Path,
    out: Path,
    boxes: str,
    detector: Path | None,
    limit: int | None,
    **device: Any,
) -> None:
    """Write the tensors and the calibration of WEIGHTS to OUT with a new card, and OUT's .md.

    Figures are measured from ground-truth and from detector boxes, with and without flip test, on
    each annotation file of the folder.
    """
    page = out.with_suffix(".md")
    if out.suffix != _SUFFIX:
        raise click.UsageError(f"--out {out}: must be NAME{_SUFFIX}")
    if trouble := trouble_of_file(page):
        raise click.UsageError(f"--out {out}: {trouble}")
    refuse_replacing({"--out": out, "page": page}, [weights, text, folder, detector])
    with reported_errors():
        from distilpose.model.card import card_markdown, read_text
        from distilpose.model.container import usable_cpus
        from distilpose.model.load import load_models
        from distilpose.model.runtime.devices import use_threads
        from distilpose.model.weights import read_card, read_tensors, write_tensors

        words = read_text(text)
        use_threads(usable_cpus())
        models = load_models(weights=weights, detector=detector, allow_teacher=True, **device)
        tensors, old, _ = read_tensors(weights)
        measuring = _Measuring(models, folder, boxes, limit, detector)
        card = _worded(words, old).model_copy(update=measuring.figures())
        write_tensors(out, tensors, card, calibration=models.predictor.calibration)
        page.write_text(card_markdown(read_card(out)), "utf-8")
        click.echo(f"wrote {out} and {page.name}")


def _worded(words: "CardText", old: "Card") -> "Card":
    """The card without figures."""
    from distilpose.model.card import Card

    card = Card(
        **words.model_dump(),
        architecture=old.architecture,
        created=old.created,
        crops_seen=old.crops_seen,
        calibrated=old.calibrated,
    )
    if not card.calibrated:
        return card
    return card.model_copy(update={"limitations": (*card.limitations, CALIBRATED_LIMITATION)})


@dataclass(frozen=True)
class _Measuring:
    """What is measured, and on whom."""

    models: "Models"
    folder: Path
    boxes: str
    """Whose, or `both`."""
    limit: int | None
    detector: Path | None
    """None for the packaged one."""

    def figures(self) -> "dict[str, tuple[Figure, ...]]":
        """Everything that is measured, by the card's fields."""
        plain = self._evaluate(_PLAIN)
        reliability = self._reliability(plain)
        by_protocol = [
            plain if protocol == _PLAIN else self._evaluate(protocol)
            for protocol in self._protocols
        ]
        by_source = zip(*by_protocol, strict=True)
        accuracy = [figure for reports in by_source for figure in self._accuracy(reports)]
        return {"accuracy": tuple(accuracy), "reliability": reliability, "cost": self._cost()}

    @property
    def _is_teacher(self) -> bool:
        from distilpose.model.predict import TeacherPredictor

        return isinstance(self.models.predictor, TeacherPredictor)

    @property
    def _protocols(self) -> Sequence[_Protocol]:
        """Those of the boxes asked for; for a teacher, which is never served, of ground truth."""
        boxes = "ground-truth" if self._is_teacher else self.boxes
        return [each for each in _PROTOCOLS if boxes in ("both", each.boxes)]

    def _evaluate(self, protocol: _Protocol) -> "list[Report]":
        reports = evaluate_sources(
            self.models.predictor, self.folder, limit=self.limit, **protocol._asdict()
        )
        aps = ", ".join(
            f"{figure_text(each.published.ap)} of {each.sources[0]}" for each in reports
        )
        click.echo(f"{protocol.case}: AP {aps}", err=True)
        return reports

    def _accuracy(self, reports: "Sequence[Report]") -> "Iterator[Figure]":
        """Figures of one source, a report a protocol."""
        from distilpose.model.card import Figure

        protocol = self._protocol(reports[0])
        for report, measured_by in zip(reports, self._protocols, strict=True):
            for name, value in _named(report).items():
                if value is not None:
                    yield Figure(
                        name=name,
                        value=round(value, 3),
                        protocol=protocol,
                        case=measured_by.case,
                    )

    def _protocol(self, report: "Report") -> str:
        from distilpose.model.measure.evaluate import MIN_BOX_SCORE
        from distilpose.model.runtime.teacher import PROTOCOL
        from distilpose.model.similarity import PCK_FRACTION

        source = report.sources[0]
        rerun = f"distilpose evaluate {self.folder.name} --source {source}"
        rerun += f" --limit {self.limit}" if self.limit else ""
        rerun += f" --detector {self.detector.name}" if self.detector else ""
        protocol = (
            f"{len(report.results)} people with keypoints in {len(report.pictures)} pictures of "
            f"{source}, {self._device()}. Others are ignored; who was not found counts as wrong. "
            f"AP ranks people as published, AP as served by the served score; PCK is within "
            f"{PCK_FRACTION} of the torso. `{rerun}`, with `--no-flip-test` for the rows without."
        )
        if any(each.boxes == "detector" for each in self._protocols):
            protocol += f" Detector boxes (`--boxes detector`) count from score {MIN_BOX_SCORE}."
        return f"{protocol} {PROTOCOL}" if self._is_teacher else protocol

    def _reliability(self, served: "list[Report]") -> "tuple[Figure, ...]":
        """Of the served scores, and where these are calibrated of the raw ones too."""
        from distilpose.model.predict import Predictor

        predictor, answered = self.models.predictor, keypoints_by_group(served)["all"]
        if predictor.calibration is None:
            return reliability_figures({RAW_CASE: answered}, self.folder)
        raw = evaluate_sources(Predictor(predictor.engine), self.folder, limit=self.limit)
        cases = {RAW_CASE: keypoints_by_group(raw)["all"], CALIBRATED_CASE: answered}
        return reliability_figures(cases, self.folder)

    def _cost(self) -> "tuple[Figure, ...]":
        from distilpose.model.card import Figure
        from distilpose.model.measure.cost import measure_speed, network_cost

        engine, cost = self.models.predictor.engine, network_cost(self.models.card.architecture)
        size = "One 256x192 crop; GMACs with attention products, which published figures leave out."
        speed = f"Crops a second from pixels to arrays, {self._device()}, median run."
        figures = [
            Figure(name="million parameters", value=round(cost.parameters / 1e6, 2), protocol=size),
            Figure(name="GMACs", value=round(cost.gmacs, 2), protocol=size),
        ]
        for batch_size in sorted({1, engine.buckets[-1]}):
            value = round(measure_speed(engine, batch_size).crops_per_second, 1)
            name = f"batches of {batch_size}"
            figures.append(Figure(name=name, value=value, protocol=speed))
        return tuple(figures)

    def _device(self) -> str:
        from distilpose.model.runtime.devices import describe

        engine = self.models.predictor.engine
        dtype = str(engine.dtype).removeprefix("torch.")
        return f"{dtype} by {engine.runtime} on {describe(engine.device)}"


def _named(report: "Report") -> dict[str, float | None]:
    from distilpose.model.similarity import PCK_FRACTION

    published = zip(COCO_NAMES, asdict(report.published).values(), strict=True)
    return {
        **dict(published),
        AP_AS_SERVED: report.served.ap,
        "mean OKS": report.mean_oks,
        f"PCK@{PCK_FRACTION}": report.pck,
    }
