"""What each command does: parse its options, call, print."""
