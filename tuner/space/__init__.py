"""Space: what may change, and within which bounds. Standard library only, no I/O."""
