"""Watches saves of VMs from outside their processes, with probes in the host's kernel."""
