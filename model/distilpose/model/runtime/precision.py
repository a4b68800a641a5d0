"""The precisions in which networks compute."""

from typing import Final, Literal, TypeAlias, get_args

Precision: TypeAlias = Literal["float32", "bfloat16"]
PrecisionChoice: TypeAlias = Literal["auto"] | Precision

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
