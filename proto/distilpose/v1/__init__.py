"""Generated protobuf code of the wire contract `pose.proto`."""
