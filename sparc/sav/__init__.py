"""Reads what VirtualBox writes when it saves a VM: saved-state files (.sav) of format 2.0."""
