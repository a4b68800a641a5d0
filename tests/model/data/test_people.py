"""Folders of COCO people: the accepted forms, and the errors of broken ones."""

import gzip
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distilpose.model.data.people import PeopleFolder, coco_document, coco_ids
from distilpose.model.errors import DataError

NOSE_AND_LEFT_EYE = [10, 20, 2, 12, 18, 1] + [0] * 45


def png(width: int = 8, height: int = 6) -> bytes:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = 200
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def image(image_id: int = 1, name: str = "a.png", **extra: Any) -> dict[str, Any]:
    return {"id": image_id, "file_name": name, "width": 8, "height": 6} | extra


def annotation(image_id: int = 1, **extra: Any) -> dict[str, Any]:
    person = {"id": 5, "image_id": image_id, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 7.5}
    return person | extra


def document(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, BytesIO(content))


def test_a_person_has_box_corners_area_and_keypoints(tmp_path: Path) -> None:
    person_entry = annotation(keypoints=NOSE_AND_LEFT_EYE, num_keypoints=2, iscrowd=0)
    write_json(tmp_path / "coco.json", document([image()], [person_entry]))

    (picture,) = PeopleFolder(tmp_path).pictures
    (person,) = picture.people

    assert person.box_xyxy_px.tolist() == [1, 2, 4, 6]
    assert person.area_px2 == 7.5
    assert person.keypoints_xy_px[:3].tolist() == [[10, 20], [12, 18], [0, 0]]
    assert person.visibility[:3].tolist() == [2, 1, 0]
    assert person.has_keypoints


@pytest.mark.parametrize(("number", "kept"), [(900100, 900100), (None, None), ("a-7", 1)])
def test_the_annotations_own_number_is_kept(
    tmp_path: Path, number: int | str | None, kept: int | None
) -> None:
    write_json(tmp_path / "coco.json", document([image()], [annotation(id=number)]))

    assert PeopleFolder(tmp_path).pictures[0].people[0].annotation_id == kept


def test_fields_beyond_coco_have_defaults_where_they_are_missing(tmp_path: Path) -> None:
    people = [annotation(keypoints=NOSE_AND_LEFT_EYE), annotation()]
    write_json(tmp_path / "coco.json", document([image()], people))

    (picture,) = PeopleFolder(tmp_path).pictures
    with_keypoints, box_only = picture.people

    assert (with_keypoints.label, box_only.label) == ("human", "box")
    assert with_keypoints.keypoint_weight[:3].tolist() == [1, 1, 0]
    assert (box_only.has_keypoints, box_only.is_crowd) == (False, False)
    assert picture.boxes_complete


def test_fields_beyond_coco_are_kept(tmp_path: Path) -> None:
    weights = [0.5, 0.25] + [0.0] * 15
    person_entry = annotation(
        keypoints=NOSE_AND_LEFT_EYE, label="mixed", keypoint_weight=weights, iscrowd=1
    )
    write_json(tmp_path / "coco.json", document([image(boxes_complete=False)], [person_entry]))

    (picture,) = PeopleFolder(tmp_path).pictures

    assert picture.people[0].label == "mixed"
    assert picture.people[0].keypoint_weight.tolist() == weights
    assert picture.people[0].is_crowd
    assert not picture.boxes_complete


def test_other_categories_than_person_are_left_out(tmp_path: Path) -> None:
    write_json(tmp_path / "coco.json", document([image()], [annotation(category_id=2)]))

    assert PeopleFolder(tmp_path).pictures[0].people == ()


def test_every_annotation_file_of_the_folder_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "coco.json.gz", document([image(1)], []))
    write_json(tmp_path / "lspet.json", document([image(2)], []))

    pictures = PeopleFolder(tmp_path).pictures

    assert [(picture.id, picture.source) for picture in pictures] == [(1, "coco"), (2, "lspet")]


def test_a_folder_by_source_has_the_pictures_of_each_file_and_reads_them(tmp_path: Path) -> None:
    write_json(tmp_path / "sport.json", document([image(1)], []))
    write_json(tmp_path / "coco.json.gz", document([image(2, "b.png"), image(3, "c.png")], []))
    (tmp_path / "a.png").write_bytes(png())
    folder = PeopleFolder(tmp_path)

    parts = folder.by_source()

    assert [[each.id for each in part.pictures] for part in parts] == [[2, 3], [1]]
    assert len(folder.pictures) == 3
    assert parts[1].read(parts[1].pictures[0]).shape == (6, 8, 3)


def test_sources_choose_annotation_files_by_stem(tmp_path: Path) -> None:
    write_json(tmp_path / "coco.json.gz", document([image(1)], []))
    write_json(tmp_path / "lspet.json", document([image(2)], []))

    pictures = PeopleFolder(tmp_path, sources=["lspet"]).pictures

    assert [picture.id for picture in pictures] == [2]


def test_a_picture_is_read_out_of_its_shard(tmp_path: Path) -> None:
    write_json(tmp_path / "coco.json.gz", document([image(shard="coco-00.tar")], []))
    write_tar(tmp_path / "coco-00.tar", {"other.png": b"not a picture", "a.png": png()})
    folder = PeopleFolder(tmp_path)

    pixels = folder.read(folder.pictures[0])

    assert pixels.shape == (6, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("annotations", "picture"),
    [
        ("mine.json", "a.png"),
        ("mine.json", "mine/a.png"),
        ("annotations/person_keypoints_val2017.json", "val2017/a.png"),
    ],
)
def test_a_loose_picture_is_found(tmp_path: Path, annotations: str, picture: str) -> None:
    write_json(tmp_path / annotations, document([image()], []))
    (tmp_path / picture).parent.mkdir(exist_ok=True)
    (tmp_path / picture).write_bytes(png())
    folder = PeopleFolder(tmp_path)

    assert folder.read(folder.pictures[0]).shape == (6, 8, 3)


def test_other_files_of_a_coco_download_are_not_read(tmp_path: Path) -> None:
    write_json(tmp_path / "annotations/person_keypoints_val2017.json", document([image()], []))
    write_json(tmp_path / "annotations/captions_val2017.json", {"captions": []})

    assert len(PeopleFolder(tmp_path).pictures) == 1


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    lying = Image.new("RGB", (6, 8))
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "a.png", exif=exif)
    write_json(tmp_path / "mine.json", document([image()], []))
    folder = PeopleFolder(tmp_path)

    assert folder.read(folder.pictures[0]).shape == (6, 8, 3)


def test_a_picture_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(width=16, height=12))
    write_json(tmp_path / "mine.json", document([image()], []))
    folder = PeopleFolder(tmp_path)

    with pytest.raises(DataError, match=r"a\.png: is 16x12, its annotations say 8x6"):
        folder.read(folder.pictures[0])


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png()[:40])
    write_json(tmp_path / "mine.json", document([image()], []))
    folder = PeopleFolder(tmp_path)

    with pytest.raises(DataError, match=r"a\.png: the PNG cannot be decoded"):
        folder.read(folder.pictures[0])


def test_a_missing_loose_picture_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "mine.json", document([image()], []))
    folder = PeopleFolder(tmp_path)

    with pytest.raises(DataError, match=r"has no picture a\.png"):
        folder.read(folder.pictures[0])


def test_a_missing_member_of_a_shard_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "coco.json", document([image(shard="coco-00.tar")], []))
    write_tar(tmp_path / "coco-00.tar", {"b.png": png()})
    folder = PeopleFolder(tmp_path)

    with pytest.raises(DataError, match=r"coco-00\.tar: has no member a\.png"):
        folder.read(folder.pictures[0])


@pytest.mark.parametrize("content", [None, b"this is no tar file"])
def test_a_missing_or_broken_shard_is_named(tmp_path: Path, content: bytes | None) -> None:
    write_json(tmp_path / "coco.json", document([image(shard="coco-00.tar")], []))
    if content is not None:
        (tmp_path / "coco-00.tar").write_bytes(content)

    with pytest.raises(DataError, match=r"coco-00\.tar: cannot be read as a tar file"):
        PeopleFolder(tmp_path)


@pytest.mark.parametrize("name", ["coco.json", "coco.json.gz"])
def test_broken_json_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'{"images": [')

    with pytest.raises(DataError, match=rf"{name}: cannot be read as JSON"):
        PeopleFolder(tmp_path)


def test_truncated_gzip_is_named(tmp_path: Path) -> None:
    (tmp_path / "coco.json.gz").write_bytes(gzip.compress(b'{"images": []}')[:-9])

    with pytest.raises(DataError, match=r"coco\.json\.gz: cannot be read as JSON"):
        PeopleFolder(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"images": [], "annotations": []}, "no 'categories'"),
        ({"images": [], "annotations": [], "categories": []}, "no category is called person"),
        (document([image()], [annotation(image_id=9)]), "nobody is left of 1 people"),
        (document([image()], [annotation(bbox=[1, 2, 3])]), "nobody is left of 1 people"),
    ],
)
def test_json_that_is_not_coco_keypoints_is_named_with_the_reason(
    tmp_path: Path, content: dict[str, Any], reason: str
) -> None:
    write_json(tmp_path / "coco.json", content)

    with pytest.raises(DataError, match=rf"coco\.json.*: {reason}"):
        PeopleFolder(tmp_path)


def test_keypoints_in_another_order_than_coco_are_refused(tmp_path: Path) -> None:
    content = document([image()], [])
    content["categories"] = [{"id": 1, "name": "person", "keypoints": ["head", "neck"]}]
    write_json(tmp_path / "mpii.json", content)

    with pytest.raises(DataError, match="not COCO's 17"):
        PeopleFolder(tmp_path)


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    write_json(tmp_path / "coco.json", document([image()], []))

    with pytest.raises(DataError, match="has no source lsp, only coco"):
        PeopleFolder(tmp_path, sources=["lsp"])


@pytest.mark.parametrize(("name", "reason"), [("", "holds no"), ("nowhere", "is not a folder")])
def test_a_folder_without_annotations_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        PeopleFolder(tmp_path / name)


def test_a_coco_document_gives_people_without_keypoints_51_zeros(tmp_path: Path) -> None:
    people = [annotation(keypoints=NOSE_AND_LEFT_EYE), annotation(iscrowd=1)]
    write_json(tmp_path / "coco.json", document([image()], people))

    found = coco_document(PeopleFolder(tmp_path).pictures)

    assert found["images"] == [{"id": 1}]
    assert [entry["id"] for entry in found["annotations"]] == [1, 2]
    assert [entry["num_keypoints"] for entry in found["annotations"]] == [2, 0]
    assert [entry["iscrowd"] for entry in found["annotations"]] == [0, 1]
    assert found["annotations"][0]["keypoints"] == NOSE_AND_LEFT_EYE
    assert found["annotations"][1]["keypoints"] == [0] * 51
    assert found["annotations"][1]["bbox"] == [1, 2, 3, 4]


def test_coco_ids_come_from_file_names(tmp_path: Path) -> None:
    names = ["coco_000000022892.avif", "000000000139.jpg", "lspet_im00020.avif"]
    images = [image(number, name) for number, name in enumerate(names)]
    write_json(tmp_path / "coco.json", document(images, []))

    assert coco_ids(PeopleFolder(tmp_path).pictures) == [139, 22892]


ROBOFLOW = {"id": 0, "name": "person", "supercategory": "none"}


@pytest.mark.parametrize(
    ("annotations", "name", "picture", "layout"),
    [
        ("annotations/person_keypoints_default.json", "a.png", "images/default/a.png", "coco"),
        ("annotations/person_keypoints_val2017.json", "a.png", "images/val2017/a.png", "coco"),
        ("result.json", "images/a.png", "images/a.png", "plain"),
        ("result.json", "images\\a.png", "images/a.png", "plain"),
        ("result.json", "/data/upload/1/a.png", "images/a.png", "plain"),
        ("train/_annotations.coco.json", "a.png", "train/a.png", "roboflow"),
    ],
)
def test_pictures_are_found_where_tools_put_them(
    tmp_path: Path, annotations: str, name: str, picture: str, layout: str
) -> None:
    (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / picture).write_bytes(png())
    write_json(tmp_path / annotations, document([image(name=name)], [annotation()]))
    folder = PeopleFolder(tmp_path)

    assert folder.layout == layout
    assert folder.read(folder.pictures[0]).shape == (6, 8, 3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_error(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(document([image()], [annotation()]))
    (tmp_path / "mine.json").write_text(text, encoding)

    assert len(PeopleFolder(tmp_path).pictures) == 1


def test_a_missing_picture_names_every_place_that_was_looked_at(tmp_path: Path) -> None:
    write_json(tmp_path / "mine.json", document([image()], []))
    folder = PeopleFolder(tmp_path)

    with pytest.raises(DataError) as caught:
        folder.read(folder.pictures[0])
    for place in ("a.png", "mine/a.png", "images/a.png", "images/mine/a.png"):
        assert f"{tmp_path}/{place}" in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "[/red].png", "\n", "é.png"])
def test_a_name_that_no_file_has_is_a_missing_picture(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "mine.json", document([image(name=name)], []))
    folder = PeopleFolder(tmp_path)

    with pytest.raises(DataError, match="has no picture"):
        folder.encoded(folder.pictures[0])


def test_ids_are_unique_within_a_source_and_made_so_in_the_folder(tmp_path: Path) -> None:
    for split, ids in {"train": [0, 20, 7], "valid": [0, 20], "test": [3]}.items():
        images = [image(number, f"{split}{number}.png") for number in ids]
        people = [annotation(number, keypoints=NOSE_AND_LEFT_EYE) for number in ids]
        content = document(images, people) | {"categories": [ROBOFLOW, {"id": 1, "name": "person"}]}
        write_json(tmp_path / split / "_annotations.coco.json", content)
    folder = PeopleFolder(tmp_path)

    found = {each.file_name: each.id for each in folder.pictures}
    # The multiple of 20 that is added keeps the same pictures held out.
    assert found == {
        "test3.png": 3,
        "train0.png": 0,
        "train20.png": 20,
        "train7.png": 7,
        "valid0.png": 1_000_000,
        "valid20.png": 1_000_020,
    }
    written = coco_document(folder.pictures)
    assert [each["id"] for each in written["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [each["image_id"] for each in written["annotations"]] == list(found.values())


def test_a_picture_of_an_earlier_file_is_left_out_with_its_people(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    write_json(tmp_path / "one.json", document([image(1)], [annotation()]))
    write_json(tmp_path / "two.json", document([image(2)], [annotation(2)]))
    folder = PeopleFolder(tmp_path)

    assert [picture.source for picture in folder.pictures] == ["one"]
    found = [fault.breach.rule.name for fault in folder.labels.faults]
    assert found == ["picture twice", "lost picture"]


def test_the_record_of_a_source_has_its_own_faults(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", document([image(1)], [annotation(area=0)]))
    write_json(tmp_path / "two.json", document([image(2, "b.png")], [annotation(2)]))
    one, two = PeopleFolder(tmp_path).by_source()

    assert one.labels.repaired.total() == 1
    assert (two.labels.annotations.total(), two.labels.faults) == (1, ())


def test_an_annotation_left_out_is_an_ignored_region_of_the_document(tmp_path: Path) -> None:
    score = annotation(keypoints=[1, 2, 0.5] * 17)
    people = [annotation(keypoints=NOSE_AND_LEFT_EYE), score | {"bbox": [0, 0, 2, 2]}]
    write_json(tmp_path / "coco.json", document([image()], people))

    kept, region = coco_document(PeopleFolder(tmp_path).pictures)["annotations"]
    assert (kept["num_keypoints"], region["num_keypoints"]) == (2, 0)
    assert (region["bbox"], region["keypoints"]) == ([0, 0, 2, 2], [0] * 51)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\x80", ""])
def test_json_that_no_one_should_write_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "coco.json").write_text(content)

    with pytest.raises(DataError, match=r"coco\.json: "):
        PeopleFolder(tmp_path)
