#!/usr/bin/env bash
# Versions: torchvision 0.28.0, torch 2.13.0, numpy 2.4.6
# Guess: transforms.v2 moves KeyPoints with the picture, all by one convention: a joint on a spot
#   stays on it, and two ways to one and the same picture lead to the same joints.
# Seen: flips take (0, 0) for the middle of the first pixel; rotate and resize take it for
#   the corner of the picture. Whichever a data set means, some are off. A half turn makes the same
#   picture as both flips, bit for bit, and puts the joints a pixel further in x and y. Joint less
#   spot, by the middle of the spot in the transformed picture:
#     both flips (0.00, 0.00), half turn (1.00, 1.00), quarter turn (0.00, 1.00)
#     to a half (0.25, 0.25), to four times (-1.50, -1.50)
#   The same with joints that count from the corner, so half a pixel more:
#     both flips (-1.00, -1.00), half turn (0.00, 0.00), quarter turn (0.00, 0.00)
#     to a half (0.00, 0.00), to four times (0.00, 0.00)
#   elastic has a rule of its own: without any displacement the picture stays as it is, but joints
#   lose their fractions, and one outside the picture is put on its edge:
#     [[100.9, 50.9], [-30.0, 20.0]] becomes [[100.0, 50.0], [0.0, 20.0]]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torchvision==0.28.0 torch==2.13.0 numpy==2.4.6

cd "$work"
venv/bin/python - <<'PYTHON'
from unittest.mock import patch

import torch

# Beside a CPU build of torch, this torchvision's compiled operators (NMS and the like) do not load,
# and describing them fails on import. No transform needs them.
with patch("torch.library.register_fake", lambda name: lambda function: function):
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F
    from torchvision.tv_tensors import Image, KeyPoints

WIDTH_PX, HEIGHT_PX = 256, 192
SPOT_PX = (150.3, 80.6)  # (0, 0) is the middle of the first pixel


def pixels(height_px: int, width_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    sides = torch.arange(height_px).double(), torch.arange(width_px).double()
    y_px, x_px = torch.meshgrid(*sides, indexing="ij")
    return x_px, y_px


def middle(picture: torch.Tensor) -> tuple[float, float]:
    weight = picture[0].double() / picture.double().sum()
    x_px, y_px = pixels(*weight.shape)
    return float((weight * x_px).sum()), float((weight * y_px).sum())


def turn(angle):
    return lambda given: F.rotate(given, angle, interpolation=InterpolationMode.BILINEAR)


x_px, y_px = pixels(HEIGHT_PX, WIDTH_PX)
spot = torch.exp(-((x_px - SPOT_PX[0]) ** 2 + (y_px - SPOT_PX[1]) ** 2) / 50)
picture = Image(spot.float()[None])
transforms = {
    "both flips": lambda given: F.vertical_flip(F.horizontal_flip(given)),
    "half turn": turn(180),
    "quarter turn": turn(90),
    "to a half": lambda given: F.resize(given, [HEIGHT_PX // 2, WIDTH_PX // 2]),
    "to four times": lambda given: F.resize(given, [HEIGHT_PX * 4, WIDTH_PX * 4]),
}


def off_px(convention_px: float) -> dict[str, tuple[float, float]]:
    """How far each transform's joint is from the spot, with the spot's coordinates so shifted."""
    joint = torch.tensor([SPOT_PX]) + convention_px
    joints = KeyPoints(joint, canvas_size=(HEIGHT_PX, WIDTH_PX))
    off = {}
    for name, transform in transforms.items():
        moved = transform(joints)[0].tolist()
        seen = middle(transform(picture))
        off[name] = tuple(a - b - convention_px for a, b in zip(moved, seen, strict=True))
    return off


flipped, turned = transforms["both flips"](picture), transforms["half turn"](picture)
assert torch.equal(flipped, turned)
EXPECTED = {
    0.0: [(0, 0), (1, 1), (0, 1), (0.25, 0.25), (-1.5, -1.5)],
    0.5: [(-1, -1), (0, 0), (0, 0), (0, 0), (0, 0)],
}
for convention_px, expected in EXPECTED.items():
    off = off_px(convention_px)
    # Adding 0 after rounding keeps -0.00 out of the output.
    shown = [f"{name} ({round(x, 2) + 0:.2f}, {round(y, 2) + 0:.2f})"
             for name, (x, y) in off.items()]
    print(", ".join(shown[:3]), ", ".join(shown[3:]), sep="\n")
    for seen, wanted in zip(off.values(), expected, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) < 0.004

joints = [[100.9, 50.9], [-30.0, 20.0]]
still = torch.zeros(1, HEIGHT_PX, WIDTH_PX, 2)
moved = F.elastic(KeyPoints(torch.tensor(joints), canvas_size=(HEIGHT_PX, WIDTH_PX)), still)
assert torch.allclose(F.elastic(picture, still), picture, atol=1e-4)
print(f"{joints} becomes {[[round(side, 3) for side in joint] for joint in moved.tolist()]}")
assert torch.allclose(moved, torch.tensor([[100.0, 50.0], [0.0, 20.0]]), atol=1e-3)
PYTHON
