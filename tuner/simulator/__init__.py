"""A Triton server that exists in virtual time only, with its load and its telemetry."""
