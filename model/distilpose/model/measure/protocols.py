"""The ways of measuring weights, and evaluations of them on each source of a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from distilpose.model.data.labels.layouts import Layout
from distilpose.model.data.people import PeopleFolder
from distilpose.model.measure.evaluate import BoxesFrom, Report, evaluate
from distilpose.model.predict import Predictor


class Protocol(NamedTuple):
    """The boxes people are found in, and whether the mirrored crop is averaged in."""

    boxes: BoxesFrom
    flip_test: bool

    @property
    def case(self) -> str:
        """The protocol in words, for the rows of a table."""
        return f"{self.boxes} boxes, {'flip test' if self.flip_test else 'no flip test'}"


PLAIN: Final = Protocol("ground-truth", flip_test=False)
"""The network alone: no error of a detector, one pass."""
PROTOCOLS: Final = (
    Protocol("ground-truth", flip_test=True),
    PLAIN,
    Protocol("detector", flip_test=True),
    Protocol("detector", flip_test=False),
)
"""All of them, in the order of a card's rows."""


def evaluate_sources(
    predictor: Predictor,
    folder: Path,
    protocol: Protocol,
    *,
    layout: Layout | None = None,
    on_progress: Callable[[int, int], None],
) -> list[Report]:
    """Return a report for each annotation file of a folder.

    `layout` chooses where the folder holds several.
    `on_progress` gets pictures done and pictures in all of one source at a time.

    Raises:
        DataError: the folder cannot be read, or nobody in a file has keypoints.
        ConfigError: boxes are the detector's and the predictor has none.
    """
    return [
        evaluate(
            predictor,
            people,
            boxes=protocol.boxes,
            flip_test=protocol.flip_test,
            on_progress=on_progress,
        )
        for people in PeopleFolder(folder, layout=layout).by_source()
    ]
