"""Telemetry: what the GPU, the host and Triton itself say while load runs."""
