"""What both front ends need of the running service."""

from typing import Protocol

from distilpose.service.domain import ModelDescription
from distilpose.service.life import Life
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.security.keys import ApiKeys
from distilpose.service.settings import Settings
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import Traces


class Backend(Protocol):
    """A service that may still be loading."""

    settings: Settings
    life: Life
    metrics: Metrics
    keys: ApiKeys
    traces: Traces

    @property
    def pipeline(self) -> Pipeline:
        """The way of a request. Raises NotReady until the models are loaded."""
        ...

    @property
    def model(self) -> ModelDescription:
        """The student that answers. Raises NotReady until it is loaded."""
        ...

    @property
    def ready(self) -> bool:
        """Whether new callers should be sent here."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the process can still do its work."""
        ...
