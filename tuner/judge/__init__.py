"""Judge: objective, limits, rank and verdict. No I/O."""
