"""Video over the pipeline: frames in flight, people followed and smoothed."""
