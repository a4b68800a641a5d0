"""Looks at this machine for a service of given settings, and for what would go wrong."""

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

from PIL import features

from distilpose.model.container import cpu_quota, usable_cpus
from distilpose.model.errors import ModelError
from distilpose.model.formats import ACCEPTED
from distilpose.model.load import load_models
from distilpose.model.runtime.pytorch.devices import torch_build
from distilpose.service.settings import Settings


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    text: str
    is_fine: bool = True


def findings(settings: Settings) -> Iterator[Finding]:
    """CPUs, torch, device, weights and decoders, each as soon as it is known."""
    quota = cpu_quota()
    quota_text = "none" if quota is None else f"{quota:g}"
    yield Finding("cpus", f"{usable_cpus()} usable, cgroup quota {quota_text}")
    yield Finding("torch", torch_build())
    yield from _model_findings(settings)
    yield Finding("jpeg", f"simplejpeg {version('simplejpeg')} (libjpeg-turbo)")
    for name, each in ACCEPTED.items():
        if each.pillow_codec:
            there = bool(features.check(each.pillow_codec))
            text = "Pillow decodes it" if there else "Pillow was built without it"
            yield Finding(name, text, there)
        elif each.package:
            there = find_spec(each.package) is not None
            yield Finding(name, f"{each.package} {'decodes it' if there else 'is not installed'}")


def _model_findings(settings: Settings) -> Iterator[Finding]:
    try:
        models = load_models(
            weights=settings.model.weights,
            sha256=settings.model.weights_sha256,
            device=settings.model.device,
            dtype=settings.model.dtype,
            engine=settings.model.engine,
            compile_network="off",
            pose_max_batch=1,
            detector=settings.detector.weights,
            detector_image_size_px=settings.detector.image_size,
        )
    except ModelError as err:
        yield Finding("models", str(err), is_fine=False)
        return
    engine = models.predictor.engine
    yield Finding("device", f"{engine.device.describe()}, by {engine.runtime}")
    yield Finding("precision", f"student {engine.precision}, detector {models.detector.precision}")
    seconds = engine.warm_up()[1]
    card = models.card
    text = f"{card.architecture} {card.version}, sha256 {models.sha256[:12]}"
    yield Finding("weights", f"{text}, {seconds * 1000:.0f} ms a crop")
