"""Images on their way, as seen by batches that wait for more items."""

import pytest

from distilpose.service.pipeline.traffic import Traffic
from distilpose.service.words import Stage


def test_an_image_counts_for_the_stage_it_is_on_its_way_to() -> None:
    traffic = Traffic(lambda: None)
    with traffic.way() as way:
        way.to(Stage.DETECT)
        assert traffic.coming == {"detect": 1, "pose": 0}
        way.to(Stage.POSE)
        assert traffic.coming == {"detect": 0, "pose": 1}
        way.to(None)
        assert traffic.coming == {"detect": 0, "pose": 0}


def test_an_image_that_fails_on_its_way_is_no_more_waited_for() -> None:
    woken: list[bool] = []
    traffic = Traffic(lambda: woken.append(True))

    def break_on_the_way() -> None:
        with traffic.way() as way:
            way.to(Stage.DETECT)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_on_the_way()
    assert traffic.coming == {"detect": 0, "pose": 0}
    assert woken == [True]
