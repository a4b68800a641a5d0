"""Helm's own engine, in a separate process, because its Go runtime handles signals itself."""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
T = TypeVar("T")


class Refused(Exception):
    """The chart, or its schema, refuses the values."""


@functools.cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _there(
    function: Callable[Parameters, T], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> T:
    return _process().submit(function, *args, **kwargs).result()


def render(
    chart: Path, values: Mapping[str, Any], *, name: str, namespace: str = "default"
) -> dict[str, str]:
    """The text of each template by its path.

    Raises:
        Refused: with the engine's message.
    """
    return _there(_render, chart, dict(values), name, namespace)


def lint(chart: Path, values: Mapping[str, Any], *, kube_version: str) -> dict[str, Any]:
    """Return the findings of a strict lint."""
    return _there(_lint, chart, dict(values), kube_version)


def package(chart: Path, destination: Path) -> Path:
    """The packaged chart."""
    return _there(_package, chart, destination)


def files(chart: Path) -> set[str]:
    """The names of the files that templates can read."""
    return _there(_files, chart)


def metadata(chart: Path) -> dict[str, Any]:
    """Return the contents of Chart.yaml."""
    return _there(_metadata, chart)


@functools.cache
def _load(chart: Path) -> Any:
    import helm_python

    return helm_python.Chart.load(chart)


def _render(chart: Path, values: dict[str, Any], name: str, namespace: str) -> dict[str, str]:
    import helm_python

    try:
        return dict(_load(chart).render(values, name=name, namespace=namespace))
    except helm_python.HelmError as err:
        raise Refused(str(err)) from None


def _lint(chart: Path, values: dict[str, Any], kube_version: str) -> dict[str, Any]:
    import helm_python

    return dict(helm_python.lint(chart, values, strict=True, kube_version=kube_version))


def _package(chart: Path, destination: Path) -> Path:
    import helm_python

    return Path(helm_python.package(chart, destination=destination))


def _files(chart: Path) -> set[str]:
    return {file["name"] for file in _load(chart).files}


def _metadata(chart: Path) -> dict[str, Any]:
    return dict(_load(chart).metadata)
