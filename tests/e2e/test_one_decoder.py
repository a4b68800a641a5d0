"""One decoder: whoever reads a picture gets the same pixels, upright, whatever its file is."""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import labelled
import odd_images
from distilpose.cli import main
from distilpose.model import crop, load, pictures
from distilpose.model.arrays import CropsBHWC, ImageHWC
from distilpose.model.data.people import PeopleFolder
from distilpose.model.formats import ACCEPTED
from distilpose.model.geometry import CropRegions
from distilpose.model.measure.evaluate import evaluate
from distilpose.model.predict import Predictor
from distilpose.model.runtime.detector import Detections
from distilpose.model.train.feed.cache import EVALUATION, build_cache
from distilpose.model.train.label.photos import label_photos, photo_paths

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text("utf-8")
NOBODY = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
WIDTH, HEIGHT = 60, 40


class Sample(NamedTuple):
    """A picture file, and the pixels that everybody has to see."""

    name: str
    content: bytes
    upright_HWC: ImageHWC
    atol: int


def upright() -> ImageHWC:
    """Soft spots without symmetry, which survive lossy formats."""
    return labelled.noise(1, WIDTH, HEIGHT)


def every_orientation() -> Iterator[Sample]:
    for name, accepted in ACCEPTED.items():
        options = odd_images.NEARLY_LOSSLESS[name]
        for orientation in range(1, 9 if name != "bmp" else 2):
            stored = Image.fromarray(upright())
            exif: dict[str, Any] = {}
            if orientation in odd_images.TURNS:
                stored = stored.transpose(odd_images.TURNS[orientation])
                exif = {"exif": odd_images.exif(orientation)}
            content = odd_images.encode(stored, name, **options, **exif)
            file_name = f"{name}-{orientation}{accepted.suffixes[0]}"
            yield Sample(file_name, content, upright(), 0 if name in odd_images.LOSSLESS else 24)


def odd_ones() -> Iterator[Sample]:
    grey_16 = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 27).reshape(HEIGHT, WIDTH)
    high_bytes = (grey_16 >> 8).astype(np.uint8)[..., None].repeat(3, axis=2)
    for name, suffix in (("png", ".png"), ("tiff", ".tif")):
        content = odd_images.encode(Image.fromarray(grey_16), name)
        yield Sample(f"grey-16{suffix}", content, high_bytes, 0)
    half = np.dstack([upright(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    half[:, : WIDTH // 2, 3] = 0
    over_white = upright().copy()
    over_white[:, : WIDTH // 2] = 255
    for name in ("png", "webp"):
        content = odd_images.encode(Image.fromarray(half), name, **odd_images.NEARLY_LOSSLESS[name])
        yield Sample(f"transparent-{name}.{name}", content, over_white, 0)


SAMPLES = {sample.name: sample for sample in (*every_orientation(), *odd_ones())}


def assert_seen(seen: Sequence[ImageHWC], samples: Sequence[Sample]) -> None:
    assert len(seen) == len(samples)
    for image_HWC, sample in zip(seen, samples, strict=True):
        np.testing.assert_allclose(
            image_HWC.astype(int), sample.upright_HWC, atol=sample.atol, err_msg=sample.name
        )


class Watching(Predictor):
    """Finds nobody, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[ImageHWC] = []

    def detect(self, images: Sequence[ImageHWC], *, min_box_score: float) -> list[Detections]:
        self.seen += images
        return [NOBODY for _ in images]


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, list[Sample]]:
    """A folder of all samples, and these in the order of their names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in SAMPLES.values():
        (folder / sample.name).write_bytes(sample.content)
    return folder, [SAMPLES[name] for name in sorted(SAMPLES)]


@pytest.fixture
def people(photos: tuple[Path, list[Sample]]) -> tuple[PeopleFolder, list[Sample]]:
    """The same with somebody labelled in each."""
    folder, samples = photos
    size = {"width": WIDTH, "height": HEIGHT}
    entries = [
        labelled.picture(number, sample.name, **size)
        for number, sample in enumerate(samples, start=1)
    ]
    someone = {"nose": (30, 10), "left_hip": (33, 30)}
    return labelled.write_folder(
        folder,
        entries,
        [labelled.person(entry["id"], someone, bbox=(20, 5, 20, 30)) for entry in entries],
        files={sample.name: sample.content for sample in samples},
    ), samples


def test_every_format_is_among_the_samples() -> None:
    assert {name.partition("-")[0] for name in SAMPLES} >= set(ACCEPTED)
    assert len([name for name in SAMPLES if re.fullmatch(r"\w+-\d\.\w+", name)]) == 49


@pytest.mark.parametrize("name", SAMPLES)
def test_a_reader_in_python_gets_it_upright(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(SAMPLES[name].content)
    assert_seen([pictures.read(path)], [SAMPLES[name]])
    assert_seen([pictures.read(str(path))], [SAMPLES[name]])
    assert_seen([pictures.read(path.read_bytes())], [SAMPLES[name]])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_service_draws_on_it_upright(client: httpx.Client, name: str) -> None:
    answer = client.post(
        "/v1/pose?min_box_score=1",
        content=SAMPLES[name].content,
        headers={"content-type": "application/octet-stream", "accept": "image/png"},
    )
    drawn = np.asarray(Image.open(io.BytesIO(answer.raise_for_status().content)).convert("RGB"))
    assert_seen([drawn], [SAMPLES[name]])


def test_training_cuts_its_crops_from_it(
    people: tuple[PeopleFolder, list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ImageHWC] = []
    warp = cv2.warpAffine

    def watch(image: ImageHWC, *arguments: Any, **options: Any) -> Any:
        seen.append(image)
        return warp(image, *arguments, **options)

    monkeypatch.setattr(cv2, "warpAffine", watch)
    build_cache(people[0], tmp_path / "cache", crop_format=EVALUATION, workers=1)
    assert_seen(seen, people[1])


def test_an_evaluation_cuts_its_crops_from_it(
    people: tuple[PeopleFolder, list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ImageHWC] = []
    cut = crop.cut

    def watch(image_HWC: ImageHWC, regions: CropRegions) -> CropsBHWC:
        seen.append(image_HWC)
        return cut(image_HWC, regions)

    monkeypatch.setattr(crop, "cut", watch)
    evaluate(load.load_models(engine="torch").predictor, people[0], boxes="ground-truth")
    assert_seen(seen, people[1])


def test_labelling_looks_for_people_in_it(photos: tuple[Path, list[Sample]]) -> None:
    folder, samples = photos
    watching = Watching()
    found = label_photos(watching, folder, photo_paths(folder), min_box_score=0.5)
    assert found.left_out == ()
    assert_seen(watching.seen, samples)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[ImageHWC]:
    """The pictures that the predictors of this process are given; they find nobody in them."""
    watching = Watching()

    def detect(_: Predictor, images: Sequence[ImageHWC], **options: float) -> list[Detections]:
        return watching.detect(images, **options)

    monkeypatch.setattr(Predictor, "detect", detect)
    return watching.seen


def test_the_command_looks_for_people_in_it(
    photos: tuple[Path, list[Sample]], watched: list[ImageHWC]
) -> None:
    folder, samples = photos
    CliRunner().invoke(main, ["predict", str(folder)], catch_exceptions=False)
    assert_seen(watched, samples)


def test_the_documented_example_looks_for_people_in_it(
    photos: tuple[Path, list[Sample]],
    watched: list[ImageHWC],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, samples = photos
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    [example] = [block for block in blocks if "load_models" in block]
    models = load.load_models(engine="torch")
    monkeypatch.setattr(load, "load_models", lambda: models)
    for sample in samples:
        code = example.replace("bus.jpg", str(folder / sample.name))
        exec(code, {})  # noqa: S102 - the page's own
    assert_seen(watched, samples)
