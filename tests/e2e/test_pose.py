"""`POST /v1/pose` over a socket: what it finds, in each form of request and answer."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from odd_images import TURNS, encode, exif
from photos import BUS_BOXES_XYXY_PX, BUS_SIZE_WH, photo
from precisions import MIN_OKS
from servers import StartServer

BUS = photo("bus.jpg")
ZIDANE = photo("zidane.jpg")
JPEG = {"content-type": "image/jpeg"}
Json = dict[str, Any]


def post_jpeg(client: httpx.Client, data: bytes = BUS, **query: object) -> httpx.Response:
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in query.items()}
    return client.post("/v1/pose", content=data, headers=JPEG, params=params)


def post_json(client: httpx.Client, *images: bytes, **options: object) -> httpx.Response:
    contents = [{"content": base64.b64encode(data).decode()} for data in images]
    return client.post("/v1/pose", json={"images": contents, "options": options})


def poses(response: httpx.Response, index: int = 0) -> list[Json]:
    assert response.status_code == 200, response.text
    found: list[Json] = response.json()["images"][index]["poses"]
    return found


def xy(pose: Json) -> np.ndarray:
    return np.array([[k["x"], k["y"]] for k in pose["keypoints"]])


def iou(a: Any, b: Any) -> float:
    (x1, y1), (x2, y2) = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = max(0, x2 - x1) * max(0, y2 - y1)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(shared / (sum(areas) - shared))


def assert_same_poses(some: list[Json], others: list[Json], *, within_px: float) -> None:
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        np.testing.assert_allclose(a["box"], b["box"], atol=within_px)
        np.testing.assert_allclose(xy(a), xy(b), atol=within_px)


def test_all_four_people_of_the_bus_photo_are_found(client: httpx.Client) -> None:
    found = poses(post_jpeg(client))
    for person in BUS_BOXES_XYXY_PX:
        assert max(iou(pose["box"], person) for pose in found) > 0.5


def test_an_answer_has_the_documented_shape(client: httpx.Client) -> None:
    answer = post_jpeg(client).json()
    assert answer["model"]["name"] == "distilpose-n"
    [image] = answer["images"]
    assert (image["index"], image["width"], image["height"]) == (0, *BUS_SIZE_WH)
    assert set(answer["timing_ms"]) == {"decode", "detect", "pose", "queue", "total"}
    scores = [pose["box_score"] for pose in image["poses"]]
    assert len(scores) == len(BUS_BOXES_XYXY_PX)
    assert scores == sorted(scores, reverse=True)
    for pose in image["poses"]:
        assert len(pose["keypoints"]) == 17
        assert pose["keypoints"][9]["name"] == "left_wrist"
        for keypoint in pose["keypoints"]:
            assert set(keypoint) == {"name", "x", "y", "score", "visible", "sigma_x", "sigma_y"}
            assert 0 <= keypoint["score"] <= 1
            assert keypoint["sigma_x"] > 0


def test_the_service_equals_the_plain_predictor(client: httpx.Client) -> None:
    from distilpose.model.load import load_models
    from odd_images import read

    predictor = load_models(dtype="float32").predictor
    image = read(BUS)
    [found] = predictor.detect([image], min_box_score=0.25)
    expected = predictor.poses(image, *found)
    answered = poses(post_jpeg(client))
    assert len(answered) == len(expected) == len(BUS_BOXES_XYXY_PX)
    for pose, reference in zip(answered, expected, strict=True):
        width_px, height_px = reference.box_xyxy_px[2:] - reference.box_xyxy_px[:2]
        crop_px = max(width_px, 0.75 * height_px) * 1.25 / 192
        np.testing.assert_allclose(xy(pose), reference.keypoints_xy_px, atol=0.02 * crop_px)


def test_the_precision_that_this_machine_takes_by_itself_answers_like_float32(
    client: httpx.Client, start_server: StartServer
) -> None:
    from distilpose.model import similarity
    from distilpose.model.runtime.precision import PRECISIONS

    with start_server(MODEL__DTYPE="auto").client() as served:
        answered, expected = poses(post_jpeg(served)), poses(post_jpeg(client))
        model = served.get("/v1/models").json()["models"][0]
    assert model["dtype"] == model["detector_dtype"] in PRECISIONS
    sure = [pose for pose in expected if pose["box_score"] > 0.5]
    assert len(sure) == 3
    for reference in sure:
        x1, y1, x2, y2 = reference["box"]
        pose = max(answered, key=lambda each: iou(each["box"], reference["box"]))
        same = similarity.oks(xy(pose), xy(reference), area_px2=(x2 - x1) * (y2 - y1) / 2)
        assert same >= MIN_OKS


def test_raw_multipart_and_json_bodies_agree(client: httpx.Client) -> None:
    raw = poses(post_jpeg(client))
    files = [("images", ("bus.jpg", BUS, "image/jpeg"))]
    multipart = client.post("/v1/pose", files=files)
    assert_same_poses(raw, poses(multipart), within_px=0.02)
    assert_same_poses(raw, poses(post_json(client, BUS)), within_px=0.02)
    assert multipart.json()["images"][0]["id"] == "bus.jpg"


def test_a_broken_image_beside_a_good_one_gives_one_error_and_one_result(
    client: httpx.Client,
) -> None:
    answer = post_json(client, BUS[:5000], ZIDANE)
    assert answer.status_code == 200
    broken, good = answer.json()["images"]
    assert broken["error"]["type"] == "undecodable-image"
    assert broken["error"]["status"] == 422
    assert len(good["poses"]) == 2


def test_images_keep_their_order_and_ids(client: httpx.Client) -> None:
    files: Any = [
        ("images", ("b.jpg", ZIDANE, "image/jpeg")),
        ("images", ("a.jpg", BUS, "image/jpeg")),
        ("options", (None, json.dumps({"max_people": 1}), "application/json")),
    ]
    images = client.post("/v1/pose", files=files).json()["images"]
    assert [(i["id"], i["width"], len(i["poses"])) for i in images] == [
        ("b.jpg", 1280, 1),
        ("a.jpg", 810, 1),
    ]


def test_the_same_photo_in_any_orientation_gives_the_same_poses(client: httpx.Client) -> None:
    upright = Image.open(io.BytesIO(BUS))
    expected = poses(post_jpeg(client, encode(upright, "png"), min_box_score=0.5))
    assert len(expected) >= 3
    for orientation in range(1, 9):
        turned = orientation in TURNS
        stored = upright.transpose(TURNS[orientation]) if turned else upright
        response = post_jpeg(
            client, encode(stored, "png", exif=exif(orientation)), min_box_score=0.5
        )
        assert response.json()["images"][0]["width"] == BUS_SIZE_WH[0]
        assert_same_poses(expected, poses(response), within_px=0.02)


def test_given_boxes_are_answered_one_for_one_in_their_order(client: httpx.Client) -> None:
    boxes = [[222.0, 406.0, 344.0, 856.0], [49.0, 400.0, 245.0, 902.0]]
    found = poses(post_jpeg(client, boxes=[boxes]))
    assert [pose["box"] for pose in found] == boxes
    assert [pose["box_score"] for pose in found] == [1, 1]


def test_the_whole_image_can_be_the_box(client: httpx.Client) -> None:
    [pose] = poses(post_jpeg(client, whole_image=True))
    assert pose["box"] == [0, 0, 810, 1080]


def test_nobody_found_is_a_result(client: httpx.Client) -> None:
    black = encode(np.zeros((240, 320, 3), np.uint8), "png")
    assert poses(post_jpeg(client, black)) == []
    one_pixel = encode(np.zeros((1, 1, 3), np.uint8), "png")
    assert poses(post_jpeg(client, one_pixel)) == []


def test_the_flip_test_moves_keypoints_a_little(client: httpx.Client) -> None:
    boxes = [[[49, 400, 245, 902]]]
    [plain] = poses(post_jpeg(client, boxes=boxes))
    [averaged] = poses(post_jpeg(client, boxes=boxes, flip_test=True))
    shift_px = np.abs(xy(plain) - xy(averaged))
    assert shift_px.max() > 0
    assert np.median(shift_px) < 30


def test_keypoints_below_the_threshold_are_flagged_and_still_answered(
    client: httpx.Client,
) -> None:
    found = poses(post_jpeg(client, min_keypoint_score=0.5))
    assert [len(pose["keypoints"]) for pose in found] == [17] * len(BUS_BOXES_XYXY_PX)
    keypoints = [k for pose in found for k in pose["keypoints"]]
    assert [k["visible"] for k in keypoints] == [k["score"] >= 0.5 for k in keypoints]
    assert {k["visible"] for k in keypoints} == {True, False}


def test_keypoints_are_visible_from_three_tenths_on_by_default(client: httpx.Client) -> None:
    keypoints = [k for pose in poses(post_anything(client)) for k in pose["keypoints"]]
    assert [k["visible"] for k in keypoints] == [k["score"] >= 0.3 for k in keypoints]
    assert {k["visible"] for k in keypoints} == {True, False}


def test_a_threshold_of_zero_makes_everything_visible(client: httpx.Client) -> None:
    found = poses(post_anything(client, min_keypoint_score=0))
    assert min(k["score"] for pose in found for k in pose["keypoints"]) < 0.3
    assert all(k["visible"] for pose in found for k in pose["keypoints"])


def post_anything(client: httpx.Client, **query: Any) -> httpx.Response:
    """Asks for boxes that hold hardly a person: many of their keypoints are nowhere."""
    return post_jpeg(client, boxes=[[[0, 0, 200, 300], [49, 400, 245, 902]]], **query)


def test_coco_results_load_in_coco_tools(client: httpx.Client) -> None:
    body = {
        "images": [{"content": base64.b64encode(BUS).decode(), "id": 42}],
        "options": {"format": "coco"},
    }
    [image] = client.post("/v1/pose", json=body).json()["images"]
    assert "poses" not in image
    from faster_coco_eval import COCO

    coco = COCO(
        {
            "images": [{"id": 42, "width": 810, "height": 1080}],
            "annotations": [],
            "categories": [{"id": 1, "name": "person"}],
        }
    )
    loaded = coco.loadRes(image["results"])
    assert len(loaded.anns) == len(image["results"]) >= 4
    entry = image["results"][0]
    assert (entry["image_id"], entry["category_id"], len(entry["keypoints"])) == (42, 1, 51)


def test_coco_image_ids_are_the_numbers_of_queries_and_file_names(client: httpx.Client) -> None:
    files: Any = [
        ("images", ("000000000139.jpg", ZIDANE, "image/jpg")),
        ("images", ("zidane.jpg", ZIDANE, "text/plain")),
        ("options", (None, json.dumps({"format": "coco", "max_people": 1}))),
    ]
    in_form = client.post("/v1/pose", files=files).json()["images"]
    in_query = post_jpeg(client, format="coco", id="42", max_people=1).json()["images"]
    images = [*in_form, *in_query]
    assert [image["results"][0]["image_id"] for image in images] == [139, 1, 42]
    assert [image["people_found"] for image in images] == [2, 2, 4]


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_the_answer_can_be_a_drawn_picture(client: httpx.Client, kind: str) -> None:
    headers = {**JPEG, "accept": f"image/{kind}"}
    response = client.post("/v1/pose", content=BUS, headers=headers)
    assert response.headers["content-type"] == f"image/{kind}"
    drawn = Image.open(io.BytesIO(response.content))
    assert (drawn.format, drawn.size) == (kind.upper(), BUS_SIZE_WH)
    original = Image.open(io.BytesIO(BUS))
    changed = np.abs(np.asarray(drawn).astype(int) - np.asarray(original)).max(-1) > 60
    assert 0.01 < changed.mean() < 0.3


def picture(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(int)


def post_for_picture(client: httpx.Client, **query: object) -> np.ndarray:
    params = {k: json.dumps(v) for k, v in query.items()}
    headers = {**JPEG, "accept": "image/png"}
    return picture(client.post("/v1/pose", content=BUS, headers=headers, params=params))


def test_ellipses_are_drawn_only_when_asked(client: httpx.Client) -> None:
    plain = post_for_picture(client)
    sigma = post_for_picture(client, draw_sigma=True)
    assert (np.abs(sigma - plain).max(-1) > 30).mean() > 0.02
    np.testing.assert_array_equal(post_for_picture(client, draw_sigma=False), plain)
    body = {
        "images": [{"content": base64.b64encode(BUS).decode()}],
        "options": {"draw_sigma": True},
    }
    by_json = client.post("/v1/pose", json=body, headers={"accept": "image/png"})
    np.testing.assert_array_equal(picture(by_json), sigma)


def test_keypoints_that_are_not_visible_are_not_drawn(client: httpx.Client) -> None:
    box = {"boxes": [[[49, 400, 245, 902]]]}
    original = np.asarray(Image.open(io.BytesIO(BUS)).convert("RGB")).astype(int)
    inside = (slice(430, 890), slice(60, 235))  # of the box, without its sides and its label

    def drawn_share(**query: object) -> float:
        pixels = post_for_picture(client, **box, **query)
        return float((np.abs(pixels - original).max(-1) > 60)[inside].mean())

    assert drawn_share(min_keypoint_score=1, draw_sigma=True) == 0
    assert drawn_share(min_keypoint_score=0) > 0.03


def test_many_callers_at_once_each_get_their_own_answer(server: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    photos = {"bus": (BUS, 810), "zidane": (ZIDANE, 1280)}

    def call(name: str) -> tuple[int, int]:
        with server.client() as own:
            response = post_jpeg(own, photos[name][0])
            return response.json()["images"][0]["width"], len(poses(response))

    names = ["bus", "zidane"] * 6
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(call, names))
    people = {name: answers[names.index(name)][1] for name in photos}
    assert answers == [(photos[name][1], people[name]) for name in names]
