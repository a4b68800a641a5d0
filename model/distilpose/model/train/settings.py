"""All settings of a run in one class. A run is defined by a file of them (YAML)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distilpose.model.configs import NETWORKS, TrunkConfig
from distilpose.model.data.labels.layouts import Layout
from distilpose.model.errors import ConfigError, one_line
from distilpose.model.train.feed.augment import AugmentSettings

_TEACHERS_LOSSES: Final = frozenset({"cross_entropy", "cross_entropy_until"})
"""The settings of a teacher's loss; a student's loss uses all the others."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(_Group):
    """Training data. Pictures whose id is divisible by 20 are always kept for calibration."""

    people: Path = Field(description="Folder of people to train on, in COCO's keypoints form.")
    evaluate_on: Path | None = Field(
        None, description="Folder of people to measure on, in COCO's keypoints form."
    )
    cache: Path = Field(
        description="Folder for the cache of crops, 279 kB per person; created if it is missing."
    )
    sources: tuple[str, ...] = Field(
        (), description="Stems of the annotation files to use; all files by default."
    )
    layout: Layout | None = Field(
        None,
        description="Layout of the labels to read where a folder holds several: plain, coco, "
        "roboflow or yolo.",
    )
    label_weight: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"human": 1.0, "mixed": 1.0, "pseudo": 0.7},
        description="Weight of a person's losses by the kind of label.",
    )
    min_keypoint_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Minimum weight of a keypoint; those with a lower one do not count.",
    )
    repeat: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {}, description="Repetitions of each source's people in an epoch; 1 by default."
    )
    resident: bool = Field(True, description="Keep all crops in the memory of an accelerator.")
    limit: int | None = Field(
        None, ge=1, description="Maximum number of people to train on, for trials."
    )
    evaluate_limit: int | None = Field(
        None, ge=1, description="Maximum number of people to measure on."
    )


class OptimiserSettings(_Group):
    """AdamW, its learning rate over the run, and the averaged weights."""

    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate.")
    trunk_rate: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Learning rate of the trunk, as a share of the others' rate; it applies to "
        "an untrained trunk too.",
    )
    trunk_frozen: float = Field(
        0.0, ge=0, lt=1, description="Share of the run, at its start, in which the trunk is frozen."
    )
    warmup_steps: int = Field(
        100, ge=0, description="Number of steps in which the learning rate rises to its peak."
    )
    schedule: Literal["steps", "flat_cosine"] = Field(
        "flat_cosine",
        description="Decay of the learning rate: `steps` divides it by 10 at 2/3 and at 13/15 of "
        "the run, as published.",
    )
    flat: float = Field(
        0.2, ge=0, le=1, description="Share of the run before the learning rate begins to fall."
    )
    final: float = Field(
        0.02, ge=0, le=1, description="Learning rate at the end, as a share of its peak."
    )
    beta2: float = Field(
        0.99, gt=0, lt=1, description="Decay of Adam's average of squared gradients."
    )
    epsilon: float = Field(
        1e-10,
        gt=0,
        description="Adam's epsilon; it has to be far below the gradients, which are means over "
        "3072 cells.",
    )
    weight_decay: float = Field(
        0.05, ge=0, description="Weight decay of matrices; vectors are not decayed."
    )
    clip_norm: float = Field(
        0.1, gt=0, description="Maximum norm of the gradient, to which larger ones are clipped."
    )
    ema: float = Field(0.998, ge=0, lt=1, description="Decay of the averaged weights in each step.")


class LossSettings(_Group):
    """The weight of each term; one that is 0 is not computed."""

    reg: float = Field(
        1.0, ge=0, description="Weight of the smooth L1 distance between coordinates."
    )
    reg_beta: float = Field(
        0.02,
        gt=0,
        description="Error, as a share of the crop's side, below which the distance is quadratic.",
    )
    reg2hm: float = Field(
        0.3,
        ge=0,
        description="Weight of the distance between the simulated and the target heatmap.",
    )
    score: float = Field(
        0.02,
        ge=0,
        description="Weight of the distance between the score and the target heatmap's value at "
        "the predicted point.",
    )
    heatmaps_of: Literal["labels", "teacher"] = Field(
        "labels",
        description="Source of the target heatmaps; `teacher` gives the published losses.",
    )
    heatmap_dist: float = Field(
        0.3,
        ge=0,
        description="Weight of the distance between the simulated heatmap and a teacher's.",
    )
    vis_dist: float = Field(
        5e-4, ge=0, description="Weight of the distance between the visual tokens and a teacher's."
    )
    kpt_dist: float = Field(
        5e-4,
        ge=0,
        description="Weight of the distance between the keypoint tokens and a teacher's.",
    )
    heatmap_weighting: Literal["per_sample", "published"] = Field(
        "per_sample",
        description="Weighting of keypoints; `published` leaks a teacher's weights over the batch.",
    )
    score_keypoints: Literal["all", "published"] = Field(
        "all",
        description="Keypoints whose scores count; `published` skips unlabelled ones if the "
        "heatmaps are a teacher's.",
    )
    point: Literal["map", "token"] = Field(
        "map",
        description="Source of a trunk student's point; `token` reads it from its token alone, "
        "through a sigmoid: the baseline of the ablation, whose weights cannot be served.",
    )
    map: float = Field(
        0.01,
        ge=0,
        description="Weight of the cross-entropy between a trunk student's map of places and the "
        "target.",
    )
    dense: float = Field(
        0.01,
        ge=0,
        description="Weight of the cross-entropy of a map that is read from the trunk in "
        "training only.",
    )
    attention: float = Field(
        0.005,
        ge=0,
        description="Weight of the cross-entropy between a trunk student's keypoint attention "
        "and the target.",
    )
    cross_entropy: float = Field(
        0.0,
        ge=0,
        description="Weight of the spatial cross-entropy of a teacher's heatmaps, which ends a "
        "plateau at the start.",
    )
    cross_entropy_until: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the run over which loss.cross_entropy fades out; with 1 it stays.",
    )


class SizeSettings(_Group):
    """A smaller input for the first part of the run: the cheapest speed-up."""

    until: float = Field(ge=0, le=1, description="Share of the run that uses the smaller input.")
    height: int = Field(
        128,
        gt=0,
        multiple_of=64,
        description="Height of the smaller input, in pixels; the width is 3/4 of the height.",
    )


class RunSettings(_Group):
    """The run's length, batch size, device and logging."""

    steps: int | None = Field(None, ge=1, description="Length of the run in optimiser steps.")
    crops: int | None = Field(
        None, ge=1, description="Length of the run in crops, of all processes together."
    )
    epochs: float | None = Field(
        None, gt=0, description="Length of the run in passes over the people."
    )
    budget_seconds: float | None = Field(
        None, gt=0, description="Length of the run in seconds of wall time, evaluation included."
    )
    batch_size: int = Field(48, ge=1, description="Number of people in a step of one process.")
    small_first: SizeSettings | None = Field(
        None, description="Smaller input for the first part of the run."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Autocast precision; on a CPU, auto tries both and takes the faster one.",
    )
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="Device to train on; auto takes cuda, else mps, else cpu."
    )
    seed: int = Field(0, ge=0, description="Random seed of weights, order and augmentation.")
    log_every_steps: int = Field(20, ge=1, description="Number of steps between log lines.")
    checkpoint_every_seconds: float = Field(120, gt=0, description="Time between checkpoints.")
    evaluate_every_seconds: float = Field(300, gt=0, description="Time between early figures.")

    @model_validator(mode="after")
    def _one_length(self) -> "RunSettings":
        given = [self.steps, self.crops, self.epochs, self.budget_seconds]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give one of steps, crops, epochs and budget_seconds")
        return self


class TrainSettings(_Group):
    """A run: a network learns from labels, a student also from a frozen teacher if there is one."""

    network: str = Field(description="Name of the network, such as distilpose-n or tokenpose-n.")
    teacher: Path | None = Field(None, description="Weights file of a student's frozen teacher.")
    start_from: Path | Literal["packaged", "nothing"] | None = Field(
        None,
        description="Weights to start from, as far as they fit: a weights file, a checkpoint, "
        "`packaged` or `nothing`; by default a student's teacher, if it has one.",
    )
    data: DataSettings
    run: RunSettings
    optimiser: OptimiserSettings = OptimiserSettings()
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    augment_strength: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Strength of the augmentation, 0 to 1; 1 is for the longest runs.",
    )
    calm: float = Field(
        0.12,
        ge=0,
        le=1,
        description="Share of the run, at its end, that is augmented at half strength.",
    )

    @property
    def trains_scores(self) -> bool:
        """Return True if a score for ranking is trained: a teacher's peaks or a student's score."""
        return NETWORKS[self.network].role == "teacher" or self.loss.score > 0

    @property
    def has_dense_map(self) -> bool:
        """Return True if training reads a map of places from the trunk alone, by its own layer."""
        network = NETWORKS[self.network]
        on_trunk = isinstance(network, TrunkConfig)
        return on_trunk and network.role == "student" and self.loss.dense > 0

    @model_validator(mode="after")
    def _fits(self) -> "TrainSettings":
        if self.network not in NETWORKS:
            raise ValueError(f"network: {self.network!r} is unknown; known: {', '.join(NETWORKS)}")
        if NETWORKS[self.network].role == "student":
            self._check_student()
        elif self.teacher:
            raise ValueError("teacher: only a student has one")
        self._check_losses()
        on_trunk = isinstance(NETWORKS[self.network], TrunkConfig)
        if on_trunk and self.run.small_first:
            raise ValueError(f"run.small_first: {self.network} learns at its full size alone")
        if not on_trunk and self.optimiser.trunk_frozen:
            raise ValueError(f"optimiser.trunk_frozen: {self.network} has no pretrained trunk")
        if not on_trunk and "trunk_rate" in self.optimiser.model_fields_set:
            raise ValueError(f"optimiser.trunk_rate: {self.network} has no pretrained trunk")
        return self

    def _check_losses(self) -> None:
        """Reject losses for a network of the other role, unless they are off."""
        role = NETWORKS[self.network].role
        for name in LossSettings.model_fields:  # in their declared order, which a set does not keep
            of = "teacher" if name in _TEACHERS_LOSSES else "student"
            if of != role and name in self.loss.model_fields_set and getattr(self.loss, name):
                raise ValueError(f"loss.{name}: {self.network} is a {role}; only a {of} has it")

    def _check_student(self) -> None:
        loss = self.loss
        if loss.heatmaps_of == "teacher" and not self.teacher:
            raise ValueError("teacher: needed where loss.heatmaps_of is `teacher`")
        terms = ["reg", "reg2hm", "score", "map", "dense", "attention"]
        if self.teacher:
            terms += ["vis_dist", "kpt_dist"]
            terms += ["heatmap_dist"] if loss.heatmaps_of == "labels" else []
        if not any(getattr(loss, name) for name in terms):
            raise ValueError(f"loss: one of {', '.join(terms)} must be above 0")
        maps = [name for name in ("map", "dense", "attention") if getattr(loss, name)]
        if not isinstance(NETWORKS[self.network], TrunkConfig):
            unused = [*maps, *(["point"] if loss.point == "token" else [])]
            if unused:
                raise ValueError(f"loss.{unused[0]}: only a student on the trunk has it")
        elif loss.point == "token" and loss.map:
            raise ValueError("loss.map: must be 0 where loss.point is `token`, which has no map")


def load_run(
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    role: Literal["teacher", "student"] | None = None,
) -> TrainSettings:
    """Load a run from a YAML file, with `group.field` overrides.

    Raises:
        ConfigError: the file cannot be read, a value is unknown or out of range, or the network
            that is trained has another role.
    """
    settings = _load_run(path, overrides or {})
    if role and NETWORKS[settings.network].role != role:
        raise ConfigError(f"{path}: {settings.network} is not a {role}")
    return settings


def _load_run(path: Path, overrides: Mapping[str, Any]) -> TrainSettings:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
        for name, value in overrides.items():
            place = values
            *groups, field = name.split(".")
            for group in groups:
                place = place.setdefault(group, {})
            place[field] = value
        return TrainSettings.model_validate(values)
    except ValidationError as err:
        raise ConfigError(f"{path}: {one_line(err)}") from err
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as err:
        raise ConfigError(f"{path}: is not a file of run settings: {err}") from err
