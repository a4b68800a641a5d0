"""A document of labels in COCO's keypoint form: of a file, or made from another format."""

from dataclasses import dataclass
from typing import Any, Final

from distilpose.model.data.labels.faults import Origin
from distilpose.model.data.labels.values import shown
from distilpose.model.errors import DataError

BREACH: Final = "breach"
"""Field of an entry that its reader found unusable: a `Breach`, which no JSON can hold."""


@dataclass
class Document:
    """Labels before they are checked: three lists of anything, and where the entries come from."""

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    source: str
    file: str
    """Path within the data folder, for messages."""
    origins: list[Origin] | None = None
    """Of the annotations, where they come from several files."""

    def origin(self, index: int) -> Origin:
        """The place of an annotation, as a person finds it."""
        if self.origins is not None:
            return self.origins[index]
        entry = self.annotations[index]
        has_id = isinstance(entry, dict) and entry.get("id") is not None
        name = f"annotation {shown(entry['id'])}" if has_id else f"annotation at {index}"
        return Origin(self.file, name)


def as_document(content: Any, *, source: str, file: str) -> Document:
    """The document that the content of a JSON file is.

    Raises:
        DataError: it is not an object with lists of images, annotations and categories.
    """
    if not isinstance(content, dict):
        raise DataError(f"is a {type(content).__name__}, not an object")
    for name in ("images", "annotations", "categories"):
        if name not in content:
            raise DataError(f"no '{name}'")
        if not isinstance(content[name], list):
            raise DataError(f"'{name}' is not a list")
    return Document(content["images"], content["annotations"], content["categories"], source, file)
