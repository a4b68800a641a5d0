"""Both networks run by OpenVINO on a CPU."""
