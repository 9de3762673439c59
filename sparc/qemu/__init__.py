"""Reads what QEMU writes when it migrates a VM into a file: plain streams, and mapped-ram files."""
