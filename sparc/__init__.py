"""Keeps chosen programs out of virtual machine checkpoints: what both sides share, and the command line."""
