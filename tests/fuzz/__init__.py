"""Fuzzing led by what is reached: targets, and the inputs that reached something new."""
