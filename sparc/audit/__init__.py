"""Looks for secrets in a saved state: in memory, in every unit, and inside what is compressed."""
