"""What runs in the guest. It imports little: where it starts, each module costs seconds."""
