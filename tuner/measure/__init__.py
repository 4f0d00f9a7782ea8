"""Measurement: what a number is, how it is made from raw timestamps, and when to doubt it.

Standard library and NumPy only; no I/O and no clock.
"""
