"""Servers: bring Triton up with one configuration, and always take it down again."""
