"""Domain answers as JSON for REST callers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pydantic import BaseModel, Field

from distilpose.model.poses.coco import coco_result
from distilpose.model.poses.pose import Pose
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.domain import ImageAnswer, ModelDescription, Options, PoseAnswer
from distilpose.service.errors import ServiceError
from distilpose.service.rest.coco import image_ids

ImageId = str | int | None


class KeypointOut(BaseModel):
    """A keypoint in pixels of the oriented image; the centre of the top-left pixel is (0, 0)."""

    name: str
    x: float
    y: float
    score: float = Field(ge=0, le=1)
    visible: bool = Field(description="score >= min_keypoint_score")
    sigma_x: float = Field(description="Predicted spread in x, in pixels.")
    sigma_y: float = Field(description="Predicted spread in y, in pixels.")


class PoseOut(BaseModel):
    """One person."""

    box: list[float] = Field(description="[x1, y1, x2, y2], in pixels.")
    box_score: float
    score: float = Field(description="Mean keypoint score multiplied by the box score.")
    keypoints: list[KeypointOut]


class CocoOut(BaseModel):
    """One entry of a COCO keypoint results file."""

    image_id: int = Field(
        description="The number in the image's id: `id` itself, or a file name of digits without "
        "its suffix; else the image's position in the request."
    )
    category_id: int
    keypoints: list[float] = Field(description="51 numbers: x, y and score of each keypoint.")
    score: float
    bbox: list[float] = Field(description="[x, y, width, height], in pixels.")


class ErrorOut(BaseModel):
    """The reason why an image has no poses."""

    type: str
    status: int
    detail: str


class ImageOut(BaseModel):
    """One image: `poses` (or `results` with format coco), or `error`."""

    index: int
    id: ImageId = None
    width: int | None = None
    height: int | None = None
    people_found: int | None = Field(
        None,
        description="Number of people before the cut to `max_people`, at most 300. Only where the "
        "detector found them.",
    )
    poses: list[PoseOut] | None = None
    results: list[CocoOut] | None = None
    error: ErrorOut | None = None


class ModelOut(BaseModel):
    """The student that answered."""

    name: str
    version: str


class TimingOut(BaseModel):
    """Time spent, in milliseconds; overlapping work of a stage is counted once."""

    decode: float
    detect: float
    pose: float
    queue: float
    total: float


class AnswerOut(BaseModel):
    """The answer of `POST /v1/pose`, with one entry per image in the request's order."""

    request_id: str
    model: ModelOut
    images: list[ImageOut]
    timing_ms: TimingOut


class ProblemOut(BaseModel):
    """An RFC 9457 problem document. `images` holds the error of each of several images."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    images: list[ImageOut] | None = None


def answer_out(
    answer: PoseAnswer,
    options: Options,
    *,
    request_id: str,
    model: ModelOut,
    statuses: Mapping[type[ServiceError], int],
) -> AnswerOut:
    """Convert a domain answer to its JSON model."""
    timing = answer.timing
    return AnswerOut(
        request_id=request_id,
        model=model,
        images=images_out(answer.images, options, statuses=statuses),
        timing_ms=TimingOut(
            decode=_ms(timing.decode),
            detect=_ms(timing.detect),
            pose=_ms(timing.pose),
            queue=_ms(timing.queue),
            total=_ms(timing.total),
        ),
    )


def images_out(
    images: Sequence[ImageAnswer], options: Options, *, statuses: Mapping[type[ServiceError], int]
) -> list[ImageOut]:
    """Each image's poses, COCO entries or error.

    Raises:
        InvalidOptions: an id cannot be the image id of COCO entries.
    """
    of_coco = image_ids([image.id for image in images]) if options.format == "coco" else None
    return [
        _image_out(index, image, options, statuses, image_id=of_coco[index] if of_coco else None)
        for index, image in enumerate(images)
    ]


def _image_out(
    index: int,
    image: ImageAnswer,
    options: Options,
    statuses: Mapping[type[ServiceError], int],
    *,
    image_id: int | None,
) -> ImageOut:
    if image.error:
        status = statuses[type(image.error)]
        error = ErrorOut(type=image.error.type, status=status, detail=image.error.detail)
        return ImageOut(index=index, id=image.id, error=error)
    width, height = image.size_wh or (None, None)
    out = ImageOut(index=index, id=image.id, width=width, height=height)
    update: dict[str, object] = {}
    if image.people_found is not None:
        update["people_found"] = image.people_found
    if image_id is None:
        update["poses"] = [_pose_out(pose, options) for pose in image.poses]
    else:
        update["results"] = [CocoOut(**coco_result(pose, image_id)) for pose in image.poses]
    return out.model_copy(update=update)


def _pose_out(pose: Pose, options: Options) -> PoseOut:
    # Converted column by column: one value at a time, numpy takes ten times as long.
    visible = options.visible(pose)
    columns = pose.keypoints_xy_px, pose.keypoint_score, visible, pose.sigma_px
    keypoints = [
        KeypointOut(
            name=name,
            x=_px(x),
            y=_px(y),
            score=_score(score),
            visible=is_visible,
            sigma_x=_px(sigma_x),
            sigma_y=_px(sigma_y),
        )
        for name, (x, y), score, is_visible, (sigma_x, sigma_y) in zip(
            KEYPOINT_NAMES, *(column.tolist() for column in columns), strict=True
        )
    ]
    return PoseOut(
        box=[_px(v) for v in pose.box_xyxy_px.tolist()],
        box_score=_score(pose.box_score),
        score=_score(pose.score),
        keypoints=keypoints,
    )


def _px(value: float) -> float:
    return round(value, 2)


def _score(value: float) -> float:
    return round(value, 4)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


class ModelCardOut(BaseModel):
    """The student that answers, and the device and runtime it uses."""

    name: str
    version: str
    sha256: str
    source: str = Field(description="Origin of the weights, in words.")
    calibrated: bool = Field(description="True if scores are calibrated probabilities.")
    device: str
    dtype: str = Field(description="Precision of the student: float32 or bfloat16.")
    engine: str = Field(description="Runtime of the networks: torch or openvino.")
    input_size: list[int] = Field(description="[height, width] of a crop, in pixels.")
    keypoints: list[str]
    detector: str
    detector_dtype: str = Field(description="Precision of the detector.")


def model_out(model: ModelDescription) -> ModelCardOut:
    """Convert a model's description to its JSON model."""
    fields = asdict(model)
    return ModelCardOut(input_size=fields.pop("input_size_hw"), **fields)
