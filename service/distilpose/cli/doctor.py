"""`distilpose doctor`: what this machine offers, and what would go wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from distilpose.cli.options import config_option, reported_errors


@click.command()
@config_option
def command(config: Path | None) -> None:
    """Check device, driver, precision, threads, weights and decoders; exit 1 on a problem."""
    problems = 0
    for name, text, ok in _findings(config):
        problems += not ok
        mark = click.style("ok", fg="green") if ok else click.style("PROBLEM", fg="red")
        click.echo(f"{name:<12} {mark}  {text}")
    sys.exit(1 if problems else 0)


def _findings(config: Path | None) -> Iterator[tuple[str, str, bool]]:
    from importlib.metadata import version

    import torch
    from PIL import features

    from distilpose.model.container import cpu_quota, usable_cpus
    from distilpose.model.formats import ACCEPTED
    from distilpose.service.settings import load_settings

    with reported_errors():
        settings = load_settings(config)
    quota = cpu_quota()
    text = f"{usable_cpus()} usable, cgroup quota {'none' if quota is None else f'{quota:g}'}"
    yield "cpus", text, True
    yield "torch", f"{torch.__version__}, built for CUDA {torch.version.cuda or 'none'}", True
    yield from _model_findings(settings)
    yield "jpeg", f"simplejpeg {version('simplejpeg')} (libjpeg-turbo)", True
    for name, each in ACCEPTED.items():
        if each.pillow_codec:
            present = bool(features.check(each.pillow_codec))
            yield name, "Pillow decodes it" if present else "Pillow was built without it", present


def _model_findings(settings: object) -> Iterator[tuple[str, str, bool]]:
    from distilpose.model.errors import ModelError
    from distilpose.model.load import load_models
    from distilpose.model.runtime import devices
    from distilpose.service.settings import Settings

    assert isinstance(settings, Settings)  # noqa: S101 - annotated loosely to import late
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
        yield "models", str(err), False
        return
    engine = models.predictor.engine
    yield "device", f"{devices.describe(engine.device)}, {engine.dtype}, {engine.runtime}", True
    seconds = engine.warm_up()[1]
    card = models.card
    text = f"{card.architecture} {card.version}, sha256 {models.sha256[:12]}"
    yield "weights", f"{text}, {seconds * 1000:.0f} ms a crop", True
