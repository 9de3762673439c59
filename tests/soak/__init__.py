"""Long runs on the real VirtualBox, in which everything may happen."""
