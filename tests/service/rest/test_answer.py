"""Domain answers as JSON for REST callers."""

import json
from dataclasses import asdict, replace

import httpx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilpose.client.rest.wire import from_model
from distilpose.model.poses.pose import Pose
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.domain import ImageAnswer, ModelDescription, Options
from distilpose.service.errors import UndecodableImage
from distilpose.service.rest.answer import ImageOut, images_out, model_out
from distilpose.service.rest.errors import STATUSES

OPTIONS = Options(min_box_score=0.25, max_people=50, min_keypoint_score=0.5)


def pose(score: float = 0.75) -> Pose:
    return Pose(
        box_xyxy_px=np.array([10, 20, 40.004, 80], np.float32),
        box_score=0.5,
        keypoints_xy_px=np.full((17, 2), (12.345, 67.891), np.float32),
        keypoint_score=np.full(17, score, np.float32),
        raw_score=np.full(17, 9.0, np.float32),
        sigma_px=np.full((17, 2), (1.5, 2.5), np.float32),
    )


def one(answer: ImageAnswer, options: Options = OPTIONS) -> ImageOut:
    return images_out([answer], options, statuses=STATUSES)[0]


def test_a_pose_is_rounded_to_what_a_caller_can_use() -> None:
    out = one(ImageAnswer("a", (64, 48), [pose()])).model_dump(exclude_unset=True)
    [person] = out["poses"]
    assert person["box"] == [10, 20, 40, 80]
    assert (person["box_score"], person["score"]) == (0.5, 0.375)
    assert person["keypoints"][0] == {
        "name": "nose",
        "x": 12.35,
        "y": 67.89,
        "score": 0.75,
        "visible": True,
        "sigma_x": 1.5,
        "sigma_y": 2.5,
    }


def test_the_raw_score_is_never_answered() -> None:
    assert "9.0" not in one(ImageAnswer("a", (64, 48), [pose()])).model_dump_json()


def test_visibility_follows_the_threshold() -> None:
    out = one(ImageAnswer(None, (64, 48), [pose(0.49)]))
    assert out.poses is not None
    assert not any(keypoint.visible for keypoint in out.poses[0].keypoints)


def test_a_failed_image_has_its_error_and_nothing_else() -> None:
    out = one(ImageAnswer("x", error=UndecodableImage("truncated")))
    assert out.model_dump(exclude_unset=True) == {
        "index": 0,
        "id": "x",
        "error": {"type": "undecodable-image", "status": 422, "detail": "truncated"},
    }


def test_people_beyond_the_limit_are_counted_in_either_format() -> None:
    coco = replace(OPTIONS, format="coco")
    for options, key in ((OPTIONS, "poses"), (coco, "results")):
        crowd = ImageAnswer(None, (64, 48), [pose()], people_found=61)
        out = one(crowd, options).model_dump(exclude_unset=True)
        assert (out["people_found"], len(out[key])) == (61, 1)
        nobody = one(ImageAnswer(None, (64, 48), people_found=0), options)
        assert nobody.model_dump(exclude_unset=True)["people_found"] == 0
        given = one(ImageAnswer(None, (64, 48), [pose()]), options)
        assert "people_found" not in given.model_dump(exclude_unset=True)


def test_coco_entries_take_the_number_of_a_file_name() -> None:
    out = one(ImageAnswer("000000000139.jpg", (64, 48), [pose()]), replace(OPTIONS, format="coco"))
    assert out.id == "000000000139.jpg"
    assert out.results is not None
    assert out.results[0].image_id == 139


def test_nobody_has_no_coco_entry() -> None:
    out = one(ImageAnswer("a", (64, 48)), replace(OPTIONS, format="coco"))
    assert out.model_dump(exclude_unset=True)["results"] == []


def test_coco_entries_carry_the_callers_integer_id_or_the_index() -> None:
    coco = Options(min_box_score=0.25, max_people=50, min_keypoint_score=0.3, format="coco")
    answers = [ImageAnswer(7, (64, 48), [pose()]), ImageAnswer("b", (64, 48), [pose()])]
    outs = images_out(answers, coco, statuses=STATUSES)
    entries = [out.results[0] for out in outs if out.results]
    assert [entry.image_id for entry in entries] == [7, 1]
    assert entries[0].bbox == [10, 20, 30, 60]
    assert entries[0].keypoints[:3] == [12.35, 67.89, 0.75]


pixels = st.floats(-1e5, 1e5, width=32)
shares = st.floats(0, 1, width=32)


@given(
    xy=hnp.arrays(np.float32, (17, 2), elements=pixels),
    scores=hnp.arrays(np.float32, 17, elements=shares),
    box_score=shares,
)
def test_every_answer_is_plain_json_within_its_bounds(
    xy: np.ndarray, scores: np.ndarray, box_score: float
) -> None:
    box = np.array([0, 0, 1, 1], np.float32)
    person = Pose(box, box_score, xy, scores, scores, np.abs(xy))
    [found] = json.loads(one(ImageAnswer(None, (1, 1), [person])).model_dump_json())["poses"]
    assert 0 <= found["score"] <= 1
    for keypoint, score, (x, y) in zip(found["keypoints"], scores, xy, strict=True):
        assert 0 <= keypoint["score"] <= 1
        assert keypoint["visible"] == bool(score >= 0.5)
        assert abs(keypoint["x"] - x) <= 0.01
        assert abs(keypoint["y"] - y) <= 0.01


def test_every_field_of_the_model_s_description_crosses() -> None:
    model = ModelDescription(
        name="distilpose-n",
        version="0.2.0",
        sha256="ab12",
        source="trained",
        calibrated=True,
        device="cpu",
        dtype="float32",
        engine="torch",
        input_size_hw=(256, 192),
        keypoints=KEYPOINT_NAMES,
        detector="yolo",
        detector_dtype="bfloat16",
    )
    document = model_out(model).model_dump_json()
    read = from_model(httpx.Response(200, text=f'{{"models": [{document}]}}'))
    assert asdict(read) == asdict(model)
