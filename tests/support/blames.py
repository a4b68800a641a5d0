"""The side to blame for each kind of failure, over every protocol."""

from typing import Final

from distilpose.service import errors

BLAMES: Final[dict[type[errors.ServiceError], str]] = {
    errors.InvalidRequest: "caller",
    errors.InvalidOptions: "caller",
    errors.UndecodableImage: "caller",
    errors.UnsupportedMediaType: "caller",
    errors.UnsupportedEncoding: "caller",
    errors.TooLarge: "caller",
    errors.Unauthenticated: "caller",
    errors.Overloaded: "refused",
    errors.NotReady: "refused",
    errors.Draining: "refused",
    errors.DeadlineExceeded: "service",
    errors.NotSent: "caller",
    errors.Internal: "service",
}
