"""What runs on the host."""
