"""Client for a running service, over REST or gRPC; needs neither torch nor the service's code.

from distilpose.client import Client

with Client("grpc://localhost:9000") as client:
    for pose in client.estimate("photo.jpg").poses:
        print(pose.score, pose.keypoints_xy_px[0])
"""

from distilpose.client.asynchronous import AsyncClient
from distilpose.client.errors import (
    DeadlineExceeded,
    Draining,
    Internal,
    InvalidRequest,
    NotReady,
    Overloaded,
    PoseError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UndecodableImage,
    UnsupportedMediaType,
)
from distilpose.client.options import Tls
from distilpose.client.pictures import Frame, Picture
from distilpose.client.results import FrameAnswer, ImageAnswer, Model, Pose, Timing
from distilpose.client.retrying import Backoff
from distilpose.client.synchronous import Client

__all__ = [
    "AsyncClient",
    "Backoff",
    "Client",
    "DeadlineExceeded",
    "Draining",
    "Frame",
    "FrameAnswer",
    "ImageAnswer",
    "Internal",
    "InvalidRequest",
    "Model",
    "NotReady",
    "Overloaded",
    "Picture",
    "Pose",
    "PoseError",
    "Timing",
    "Tls",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UndecodableImage",
    "UnsupportedMediaType",
]
