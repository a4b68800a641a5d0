"""Write the weights of runs to a weights file, with a card that records their origin."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from distilpose.model.card import Card, Figure, version_of
from distilpose.model.errors import WeightsError
from distilpose.model.networks import Student, Teacher
from distilpose.model.train.checkpoint import Origin, licences_after
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.validate import EarlyFigures
from distilpose.model.weights import load, save


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
    today = datetime.now(UTC).date()
    card = Card(
        architecture=settings.network,
        version=version_of(today),
        created=today,
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


def write_mean(path: Path, runs: Sequence[Path]) -> Card:
    """Write the mean of the weights in `runs`, and return its card.

    Runs that have gone on from one another, or from the same weights, err in different ways, and
    their mean errs less than each. *Source:* Wortsman et al. 2022, "Model soups", arXiv 2203.05482,
    the uniform soup.

    Raises:
        WeightsError: a file cannot be read, or one has another network than the first.
    """
    read = [load(run) for run in runs]
    cards = [weights.card for weights in read]
    architecture = cards[0].architecture
    for run, card in zip(runs, cards, strict=True):
        if card.architecture != architecture:
            raise WeightsError(
                f"{run}: is of {card.architecture}, {runs[0]} of {architecture}: their weights "
                "have no mean"
            )
    origins = [
        str(Origin.of_weights(run, weights.card, weights.sha256))
        for run, weights in zip(runs, read, strict=True)
    ]
    today = datetime.now(UTC).date()
    crops = [card.crops_seen for card in cards if card.crops_seen is not None]
    mean_card = Card(
        architecture=architecture,
        version=version_of(today),
        created=today,
        source=f"Mean of the weights of {len(runs)} runs: {'; '.join(origins)}.",
        training_data=" ".join(dict.fromkeys(card.training_data for card in cards)),
        licences=tuple(dict.fromkeys(each for card in cards for each in card.licences)),
        crops_seen=max(crops, default=None),
        calibrated=False,
        limitations=("Not measured: run `distilpose evaluate` before you rely on it.",),
    )
    save(path, _mean([weights.network.state_dict() for weights in read]), mean_card)
    return mean_card


def _mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor; all states have the same."""
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(first.dtype)
        for key, first in states[0].items()
    }


def _early(figures: EarlyFigures | None) -> tuple[Figure, ...]:
    if figures is None:
        return ()
    protocol = "early figure: labelled people of the held-out folder, ground-truth boxes, no flip"
    return tuple(
        Figure(name=name, value=round(value, 4), protocol=protocol)
        for name, value in figures._asdict().items()
    )
