"""Write the averaged weights of a run to a weights file, with a card that records its origin."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from distilpose.model.card import Card, Figure
from distilpose.model.networks import Student, Teacher
from distilpose.model.train.checkpoint import Origin, licences_after
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.validate import EarlyFigures
from distilpose.model.weights import save


def write_weights(
    path: Path,
    network: Student | Teacher,
    settings: TrainSettings,
    *,
    step: int,
    crops_seen: int | None,
    data_digest: str,
    label_notes: Sequence[str],
    figures: EarlyFigures | None,
    origin: Origin | None,
) -> None:
    """Write the weights with a card about the run; `origin` is the run's starting point.

    `label_notes` are sentences about labels of the training data that were left out or repaired.

    Raises:
        WeightsError: a value is not finite in half precision.
    """
    begun = f", from {origin}" if origin else ""
    teacher = f", taught by {settings.teacher.name}" if settings.teacher else ""
    card = Card(
        architecture=settings.network,
        version=f"0+{datetime.now(UTC):%Y%m%d}",
        created=datetime.now(UTC).date(),
        source=(
            f"Trained by distilpose {version('distilpose')} for {step} steps of "
            f"{settings.run.batch_size} people a process{begun}{teacher}; averaged weights."
        ),
        training_data=" ".join(
            [
                f"People of {settings.data.people.name}, data digest {data_digest[:16]}.",
                *label_notes,
            ]
        ),
        licences=licences_after(origin),
        accuracy=_early(figures),
        crops_seen=crops_seen,
        calibrated=False,
        limitations=("Early figures only: run `distilpose evaluate` before you rely on them.",),
    )
    save(path, network.state_dict(), card)


def _early(figures: EarlyFigures | None) -> tuple[Figure, ...]:
    if figures is None:
        return ()
    protocol = "early figure: labelled people of the held-out folder, ground-truth boxes, no flip"
    return tuple(
        Figure(name=name, value=round(value, 4), protocol=protocol)
        for name, value in figures._asdict().items()
    )
