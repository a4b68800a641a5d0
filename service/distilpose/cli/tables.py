"""Tables of figures that several commands print."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.measure.reliability import Keypoints


def reliability_table(
    keypoints: Mapping[str, "Keypoints"], *, before: Mapping[str, "Keypoints"] | None = None
) -> "Table":
    """The reliability of scores, a row a group; with `before`, each cell shows the change."""
    from rich.table import Table

    from distilpose.model.card import figure_text
    from distilpose.model.measure.reliability import NAMES, to_json

    table = Table(box=None, collapse_padding=True, pad_edge=False)
    table.add_column("scores" if before is None else "before>after")
    for name in ("points", *NAMES.values()):
        table.add_column(name, justify="right")
    columns = [to_json(each) for each in (before, keypoints) if each is not None]
    for group in keypoints:
        rows = [measured[group] for measured in columns]
        changes = (">".join(figure_text(row[name]) for row in rows) for name in NAMES)
        table.add_row(group, str(rows[-1]["keypoints"]), *changes)
    return table
