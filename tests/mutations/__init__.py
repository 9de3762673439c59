"""Each protection against a fault taken out in turn: its test has to fail."""
