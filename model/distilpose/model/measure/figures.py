"""The figures of a card, measured: accuracy by every protocol, reliability of scores, cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from distilpose.model.card import Card, CardText, Figure
from distilpose.model.data.labels.layouts import Layout
from distilpose.model.load import Models
from distilpose.model.measure import reliability
from distilpose.model.measure.cost import measure_speed, network_cost
from distilpose.model.measure.evaluate import MIN_BOX_SCORE, Report
from distilpose.model.measure.protocols import PLAIN, PROTOCOLS, Protocol, evaluate_sources
from distilpose.model.measure.reliability import Keypoints, keypoints_by_group
from distilpose.model.predict import Predictor
from distilpose.model.runtime.pytorch import teacher
from distilpose.model.similarity import PCK_FRACTION

COCO_NAMES: Final = ("AP", "AP50", "AP75", "AP-M", "AP-L", "AR")
"""Of the fields of `CocoFigures`, in their order."""
RAW_CASE: Final = "raw scores clamped to 0..1"
CALIBRATED_CASE: Final = "calibrated"

_AP_AS_SERVED: Final = "AP as served"
"""Ranked by the score that the service answers, which a calibration changes."""
_CALIBRATED_LIMITATION: Final = (
    "Scores and spreads are calibrated on keypoints that are labelled: what is said of joints out "
    "of the picture was never checked."
)


def card_without_figures(words: CardText, old: Card) -> Card:
    """Return the card of the weights that `old` describes, with new words and nothing measured."""
    card = Card(
        **words.model_dump(),
        architecture=old.architecture,
        created=old.created,
        crops_seen=old.crops_seen,
        calibrated=old.calibrated,
    )
    return _limited(card) if card.calibrated else card


def recalibrated_card(card: Card, figures: tuple[Figure, ...]) -> Card:
    """Return the card without figures of the old calibration, and with the new one's `figures`."""
    accuracy = tuple(figure for figure in card.accuracy if figure.name != _AP_AS_SERVED)
    return _limited(card.model_copy(update={"accuracy": accuracy, "reliability": figures}))


def _limited(card: Card) -> Card:
    """The card with the limitation that every calibration has, once."""
    others = tuple(each for each in card.limitations if each != _CALIBRATED_LIMITATION)
    return card.model_copy(update={"limitations": (*others, _CALIBRATED_LIMITATION)})


def combined(*measured: Mapping[str, tuple[Figure, ...]]) -> dict[str, tuple[Figure, ...]]:
    """The figures of several measurements, each figure once, by the card's fields."""
    fields = measured[0]
    return {
        field: tuple(dict.fromkeys(figure for each in measured for figure in each[field]))
        for field in fields
    }


def reliability_figures(
    keypoints_by_case: Mapping[str, Keypoints], people: str
) -> tuple[Figure, ...]:
    """Return a card's figures of the same keypoints of `people`, scored in several ways."""
    measured = {case: reliability.measure(each) for case, each in keypoints_by_case.items()}
    count = next(iter(measured.values())).keypoints
    protocol = (
        f"{count} keypoints of {people}, ground-truth boxes, no flip test. {reliability.PROTOCOL}"
    )
    return tuple(
        Figure(name=name, value=round(value, 3), protocol=protocol, case=case)
        for case, figures in measured.items()
        for field, name in reliability.NAMES.items()
        if (value := getattr(figures, field)) is not None
    )


@dataclass(frozen=True)
class CardMeasurement:
    """Everything that a card says of models, measured on the people of a folder."""

    models: Models
    folder: Path
    on_progress: Callable[[int, int], None]
    """Called with pictures done and pictures in all, of one source by one protocol."""
    on_protocol: Callable[[Protocol, Sequence[Report]], None]
    """Called after each protocol with a report of each source."""
    layout: Layout | None = None
    """Layout of the labels, where the folder holds several."""

    def figures(self) -> dict[str, tuple[Figure, ...]]:
        """Measure, and return the figures by the card's fields.

        Raises:
            DataError: the folder cannot be read, or has nobody with keypoints, or nobody was found.
        """
        plain = self._evaluate(PLAIN)
        reliable = self._reliability(plain)
        by_protocol = [
            plain if protocol == PLAIN else self._evaluate(protocol) for protocol in self._protocols
        ]
        by_source = zip(*by_protocol, strict=True)
        accuracy = [figure for reports in by_source for figure in self._accuracy(reports)]
        return {"accuracy": tuple(accuracy), "reliability": reliable, "cost": self._cost()}

    @property
    def _is_teacher(self) -> bool:
        return isinstance(self.models.predictor.engine, teacher.TeacherEngine)

    @property
    def _protocols(self) -> list[Protocol]:
        # A teacher is never served, so it meets no detector.
        return [each for each in PROTOCOLS if not self._is_teacher or each.boxes == "ground-truth"]

    def _evaluate(self, protocol: Protocol) -> list[Report]:
        reports = self._evaluate_sources(self.models.predictor, protocol)
        self.on_protocol(protocol, reports)
        return reports

    def _evaluate_sources(self, predictor: Predictor, protocol: Protocol) -> list[Report]:
        return evaluate_sources(
            predictor, self.folder, protocol, layout=self.layout, on_progress=self.on_progress
        )

    def _accuracy(self, reports: Sequence[Report]) -> Iterator[Figure]:
        """Figures of one source, a report for each protocol."""
        text = self._protocol_text(reports[0])
        for report, protocol in zip(reports, self._protocols, strict=True):
            for name, value in _named(report).items():
                if value is not None:
                    yield Figure(
                        name=name, value=round(value, 3), protocol=text, case=protocol.case
                    )

    def _protocol_text(self, report: Report) -> str:
        source = report.sources[0]
        precision = self.models.predictor.engine.precision
        rerun = f"distilpose evaluate {self.folder.name} --source {source} --dtype {precision}"
        rerun += f" --layout {self.layout}" if self.layout else ""
        text = (
            f"{len(report.results)} people with keypoints in {len(report.pictures)} pictures of "
            f"{source}, {self._device()}. Others are ignored; who was not found counts as wrong. "
            f"AP ranks people as published, AP as served by the served score; PCK is within "
            f"{PCK_FRACTION} of the torso. `{rerun}`, with `--no-flip-test` for the rows without."
        )
        text = " ".join([text, *report.labels.notes()])
        if any(each.boxes == "detector" for each in self._protocols):
            text += f" Detector boxes (`--boxes detector`) count from score {MIN_BOX_SCORE}."
        return f"{text} {teacher.PROTOCOL}" if self._is_teacher else text

    def _reliability(self, served: list[Report]) -> tuple[Figure, ...]:
        """Figures of the served scores, and where these are calibrated of the raw ones too."""
        predictor, answered = self.models.predictor, keypoints_by_group(served)["all"]
        people = f"{self.folder.name}, {predictor.engine.precision}"
        if predictor.calibration is None:
            return reliability_figures({RAW_CASE: answered}, people)
        raw = self._evaluate_sources(Predictor(predictor.engine), PLAIN)
        cases = {RAW_CASE: keypoints_by_group(raw)["all"], CALIBRATED_CASE: answered}
        return reliability_figures(cases, people)

    def _cost(self) -> tuple[Figure, ...]:
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
        engine = self.models.predictor.engine
        return f"{engine.precision} by {engine.runtime} on {engine.device.describe()}"


def _named(report: Report) -> dict[str, float | None]:
    published = zip(COCO_NAMES, asdict(report.published).values(), strict=True)
    return {
        **dict(published),
        _AP_AS_SERVED: report.served.ap,
        "mean OKS": report.mean_oks,
        f"PCK@{PCK_FRACTION}": report.pck,
    }
