"""Processor time and memory of decoding, for each kind of picture, beside the cost that is charged.

    python tests/bench/decode_costs.py [--side 3456] [--only tiff]

Every picture is decoded once in a process of its own. `!` marks what exceeds its charge: then the
row in `distilpose.model.pictures.costs` must grow. Only the time of the pictures named `jpeg spare`
is not charged, which that module explains.
"""

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import coded_pictures
from distilpose.model import pictures

MAX_PIXELS = 10**9


def line(name: str, side_px: int) -> str:
    """One row of the table."""
    source = coded_pictures.source(name, (side_px, side_px))
    header = pictures.read_header(source, max_pixels=MAX_PIXELS)
    cost, measured = pictures.cost_of(source, header), coded_pictures.measure(source, header)
    file_bytes = len(source.content) if isinstance(source, pictures.EncodedImage) else 0
    pixels = header.pixels
    is_over = measured.decode_seconds > cost.decode_seconds, measured.peak_bytes > cost.peak_bytes
    seconds_mark, bytes_mark = ("!" if over else " " for over in is_over)
    return (
        f"{name:<28} {header.coding:<22} {file_bytes / pixels:6.2f}"
        f" {measured.decode_seconds * 1e9 / pixels:8.1f}{seconds_mark}"
        f" {cost.decode_seconds * 1e9 / pixels:8.1f}"
        f" {measured.peak_bytes / pixels:8.1f}{bytes_mark} {cost.peak_bytes / pixels:8.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=3456, help="pixels; a multiple of 16")
    parser.add_argument("--only", default="", help="the beginning of the names")
    arguments = parser.parse_args()
    coded_pictures.warm_up()
    print(
        f"{'picture':<28} {'coding':<22} {'B/px':>6} {'ms/MP':>8}  {'charged':>8}"
        f" {'peak B/px':>9} {'charged':>8}"
    )
    for name in coded_pictures.NAMES:
        if name.startswith(arguments.only):
            print(line(name, arguments.side), flush=True)


if __name__ == "__main__":
    main()
