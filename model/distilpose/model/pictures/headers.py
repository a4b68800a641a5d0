"""What is known of an image before it is decoded. Knows no bytes and no pixels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its picture before any pixel is decoded."""

    format: str
    """A key of `image_formats.ACCEPTED`; of a raw frame one of `raw_frames.FORMATS`."""
    size_wh: tuple[int, int]
    """Width and height as stored, before orientation."""
    orientation: int
    """How to turn the stored picture upright, 1..8 as in EXIF."""

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.size_wh[0] * self.size_wh[1]

    @property
    def upright_size_wh(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        width, height = self.size_wh
        return (height, width) if self.lies_on_its_side else (width, height)

    @property
    def lies_on_its_side(self) -> bool:
        """Whether rows as stored are columns of the upright image."""
        return self.orientation >= 5

    @property
    def is_mirrored_xy(self) -> tuple[bool, bool]:
        """Whether the upright image starts at the stored picture's far end: in x, in y."""
        return self.orientation in {2, 3, 6, 7}, self.orientation in {3, 4, 7, 8}


def reduced_size_wh(size_wh: tuple[int, int], factor: int) -> tuple[int, int]:
    """Width and height decoded `factor` times smaller, rounded up as libjpeg does."""
    width, height = size_wh
    return -(-width // factor), -(-height // factor)
