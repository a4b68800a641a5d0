"""An evaluation of a network, with its cost, its speed and the reliability of its scores."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from distilpose.model.card import figure_text
from distilpose.model.errors import DataError
from distilpose.model.load import Models
from distilpose.model.measure import reliability
from distilpose.model.measure.box_recall import in_words
from distilpose.model.measure.cost import Cost, Speed, measure_speed, network_cost
from distilpose.model.measure.evaluate import Report
from distilpose.model.measure.reliability import Keypoints, keypoints_by_group
from distilpose.model.runtime.pytorch import teacher
from distilpose.model.similarity import PCK_FRACTION


@dataclass(frozen=True)
class NetworkReport:
    """Everything that is measured of a network on one set of people."""

    models: Models
    accuracy: Report
    cost: Cost
    speed: Speed
    """In batches of the engine's largest bucket."""

    @cached_property
    def keypoints(self) -> dict[str, Keypoints]:
        """By group of people; empty where no keypoint was labelled by people, or nobody found."""
        try:
            return keypoints_by_group([self.accuracy])
        except DataError:
            return {}

    def protocol(self) -> list[str]:
        """The measuring of the figures in sentences, to be shown beside them."""
        sentences = [*self.accuracy.protocol(), reliability.PROTOCOL]
        is_teacher = isinstance(self.models.predictor.engine, teacher.TeacherEngine)
        return [*sentences, teacher.PROTOCOL] if is_teacher else sentences

    def summary(self) -> list[str]:
        """The figures besides AP, a line each."""
        report, cost, speed = self.accuracy, self.cost, self.speed
        recall = [f"box recall {in_words(report.box_recall)}"] if report.box_recall else []
        engine = f"{speed.dtype} by {speed.runtime} on {speed.device}, {speed.threads} threads"
        return [
            f"mean OKS {report.mean_oks:.3f}, PCK@{PCK_FRACTION} {figure_text(report.pck)}",
            *recall,
            f"{cost.parameters / 1e6:.2f} M parameters, {cost.gmacs:.2f} GMACs a crop",
            f"{speed.crops_per_second:.1f} crops/s in batches of {speed.batch_size} ({engine})",
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as `json.dumps` takes it."""
        card = self.models.card
        network = {"architecture": card.architecture, "version": card.version}
        return {
            "network": network | {"sha256": self.models.sha256, "calibrated": card.calibrated},
            "cost": asdict(self.cost),
            "speed": asdict(self.speed),
            "reliability": reliability.to_json(self.keypoints),
            **self.accuracy.to_json(),
            "protocol": self.protocol(),
        }


def report_network(models: Models, accuracy: Report) -> NetworkReport:
    """Measure cost and speed of the network that `accuracy` was measured of."""
    engine = models.predictor.engine
    cost = network_cost(models.card.architecture)
    return NetworkReport(models, accuracy, cost, measure_speed(engine, engine.buckets[-1]))
