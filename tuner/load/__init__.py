"""Load: the traffic, its levels, and the raw timestamps that come back."""
