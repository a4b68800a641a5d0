"""One class: everything a run depends on. A run is one of its files (YAML)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distilpose.model.configs import NETWORKS
from distilpose.model.errors import ConfigError
from distilpose.model.train.augment import AugmentSettings


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Group):
    """Whom to learn from. Pictures whose id is divisible by 20 are always kept for calibration."""

    people: Path = Field(description="Folder of COCO-keypoints people to train on.")
    evaluate_on: Path | None = Field(None, description="Folder of people to measure on.")
    cache: Path = Field(description="Folder for the cut crops, 279 kB a person; made if missing.")
    sources: tuple[str, ...] = Field((), description="Annotation files by stem; none: all.")
    label_weight: dict[str, float] = Field(
        {"human": 1.0, "mixed": 1.0, "pseudo": 0.7}, description="Trust in each kind of label."
    )
    min_keypoint_weight: float = Field(0.0, ge=0, le=1, description="Points below do not count.")
    repeat: dict[str, int] = Field({}, description="How often a source's people come an epoch.")
    resident: bool = Field(True, description="Keep all crops in the device's memory.")
    limit: int | None = Field(None, ge=1, description="Only so many people, for trials.")
    evaluate_limit: int | None = Field(None, ge=1, description="Measure on so many people only.")


class OptimiserSettings(_Group):
    """AdamW, its learning rate over the run, and the averaged weights."""

    learning_rate: float = Field(1e-3, gt=0, description="The highest.")
    warmup_steps: int = Field(500, ge=0, description="Steps of linear rise to it.")
    schedule: Literal["steps", "flat_cosine"] = Field(
        "flat_cosine", description="`steps`: a tenth at 2/3 and at 13/15 of the run, as published."
    )
    flat: float = Field(0.25, ge=0, le=1, description="Share of the run before the cosine falls.")
    final: float = Field(0.01, ge=0, le=1, description="Where the cosine ends, of the highest.")
    beta2: float = Field(0.99, gt=0, lt=1, description="Adam's memory of squared gradients.")
    epsilon: float = Field(
        1e-12, gt=0, description="Far below the gradients, which are means over 3072 cells."
    )
    weight_decay: float = Field(0.05, ge=0, description="Of matrices; vectors have none.")
    clip_norm: float = Field(0.1, gt=0, description="Largest norm of the gradient.")
    ema: float = Field(0.9992, ge=0, lt=1, description="Memory of the averaged weights a step.")


class LossSettings(_Group):
    """What each term is multiplied with, and the published oddities that ours differ from."""

    reg: float = Field(1.0, ge=0, description="Coordinates.")
    reg_beta: float = Field(
        1.0, gt=0, description="Error, in sides of the crop, up to which it counts by its square."
    )
    vis_dist: float = Field(5e-4, ge=0, description="Visual tokens, from the teacher.")
    kpt_dist: float = Field(5e-4, ge=0, description="Keypoint tokens, from the teacher.")
    score: float = Field(0.01, ge=0, description="The teacher's value where the student points.")
    reg2hm: float = Field(1.0, ge=0, description="The simulated against the teacher's heatmap.")
    heatmap_weighting: Literal["per_sample", "published"] = Field(
        "per_sample", description="`published` leaks weights over the batch."
    )
    score_keypoints: Literal["all", "published"] = Field(
        "all", description="`published` skips unlabelled keypoints."
    )
    cross_entropy: float = Field(
        0.0, ge=0, description="Spatial cross-entropy of a teacher's heatmaps: ends the plateau."
    )
    auxiliary: float = Field(
        0.0, ge=0, description="The same of a heatmap read from the visual tokens, in training."
    )
    attention: float = Field(
        0.0, ge=0, description="Tells keypoint tokens to attend to the patch of their keypoint."
    )
    helpers_until: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the run over which those but `auxiliary` fade out; none: they stay.",
    )

    @property
    def needs_teacher(self) -> bool:
        """Whether any term of a student is compared with a teacher."""
        return any((self.vis_dist, self.kpt_dist, self.score, self.reg2hm))


class SizeSettings(_Group):
    """A smaller input for the first part of the run: the cheapest speed-up there is."""

    until: float = Field(ge=0, le=1, description="Share of the run that it lasts.")
    height: int = Field(128, multiple_of=64, description="Pixels; the width is 3/4 of it.")


class RunSettings(_Group):
    """How long, how large, on what."""

    steps: int | None = Field(None, ge=1, description="Optimiser steps.")
    epochs: float | None = Field(None, gt=0, description="Passes over the people.")
    budget_seconds: float | None = Field(None, gt=0, description="Wall time, evaluation included.")
    batch_size: int = Field(256, ge=1, description="People a step and process.")
    small_first: SizeSettings | None = Field(None, description="Progressive size.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of autocast.")
    compile: bool = Field(False, description="torch.compile.")
    device: Literal["auto", "cuda", "mps", "cpu"] = Field("auto", description="Where to train.")
    seed: int = Field(0, description="Of everything drawn.")
    log_every_steps: int = Field(20, ge=1, description="Steps between log lines.")
    checkpoint_every_seconds: float = Field(120, gt=0, description="What a crash may cost.")
    evaluate_every_seconds: float = Field(300, gt=0, description="Between early figures.")

    @model_validator(mode="after")
    def _one_length(self) -> "RunSettings":
        given = [self.steps, self.epochs, self.budget_seconds]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give one of steps, epochs and budget_seconds")
        return self


class TrainSettings(_Group):
    """A run: a teacher learns heatmaps from labels, a student from labels and a frozen teacher."""

    network: str = Field(description="tokenpose-s, tokenpose-l, distilpose-s or distilpose-l.")
    teacher: Path | None = Field(None, description="A student's teacher: its weights file.")
    start_from: Path | Literal["packaged", "nothing"] | None = Field(
        None,
        description="Weights to start from, as far as they fit: a file or the package's own; none: "
        "a student's teacher, if any.",
    )
    joint: bool = Field(
        False,
        description="A student without a second network: a teacher's last layers read the "
        "student's own tokens and learn the labels along with it.",
    )
    data: DataSettings
    run: RunSettings
    optimiser: OptimiserSettings = OptimiserSettings()
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    augment_strength: float = Field(1.0, ge=0, le=1, description="Short runs want about a third.")
    calm: float = Field(0.15, ge=0, le=1, description="Last share of the run at half strength.")

    @property
    def trains_scores(self) -> bool:
        """Whether answers can be ranked by a score: a teacher's peaks, or a student's own."""
        is_teacher = NETWORKS[self.network].role == "teacher"
        has_teacher = self.teacher is not None or self.joint
        return is_teacher or (has_teacher and self.loss.score > 0)

    @model_validator(mode="after")
    def _fits(self) -> "TrainSettings":
        if self.network not in NETWORKS:
            raise ValueError(f"network: {self.network!r} is unknown; known: {', '.join(NETWORKS)}")
        is_student = NETWORKS[self.network].role == "student"
        if self.teacher and not is_student:
            raise ValueError("teacher: only a student has one")
        if self.joint and not is_student:
            raise ValueError("joint: only a student learns jointly")
        if is_student and not self.teacher and not self.joint and self.loss.needs_teacher:
            raise ValueError("teacher: a student needs one, unless joint or only loss.reg counts")
        return self


def load_run(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainSettings:
    """The run in a YAML file, with `group.field` overrides.

    Raises:
        ConfigError: the file cannot be read, or a value is unknown or out of range.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
        for name, value in (overrides or {}).items():
            place = values
            *groups, field = name.split(".")
            for group in groups:
                place = place.setdefault(group, {})
            place[field] = value
        return TrainSettings.model_validate(values)
    except ValidationError as err:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from err
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as err:
        raise ConfigError(f"{path}: is no run's settings: {err}") from err
