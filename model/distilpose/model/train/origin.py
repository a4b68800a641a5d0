"""The weights that a run began with: its own are under their terms too, and its card names them."""

from typing import Final, NamedTuple

TRAINING_DATA: Final = "Those of the training data: ask whoever trained these weights."


class Origin(NamedTuple):
    """A file that a run took weights from."""

    file: str
    """Its name, without folders."""
    architecture: str
    version: str
    """As the file's card says, or the step of a checkpoint."""
    sha256: str
    """The file's digest, lower-case hexadecimal."""
    licences: tuple[str, ...]

    def __str__(self) -> str:
        """The words for a card."""
        return f"{self.architecture} {self.version} ({self.file}, sha256 {self.sha256[:16]})"


UNKNOWN: Final = Origin(
    file="a file that its checkpoint does not name",
    architecture="weights",
    version="unknown",
    sha256="unknown",
    licences=(
        "Those of the weights that training began with, which its checkpoint does not name.",
    ),
)
"""Of a checkpoint that an older release wrote."""


def licences_after(origin: Origin | None) -> tuple[str, ...]:
    """The licences of weights that were trained on from `origin`, or from nothing."""
    before = origin.licences if origin else ()
    return tuple(dict.fromkeys([*before, TRAINING_DATA]))
