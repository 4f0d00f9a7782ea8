"""Search: propose what to measure next."""
