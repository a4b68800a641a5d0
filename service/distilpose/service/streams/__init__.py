"""Video over the pipeline: frames in flight, tracking and smoothing."""
