"""Find, prove and export the best configuration of a model on NVIDIA Triton Inference Server."""

__version__ = "0.1.0"
