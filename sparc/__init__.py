"""Keeps chosen programs out of checkpoints: what both sides share, and the command line."""
