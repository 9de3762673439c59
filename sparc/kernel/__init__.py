"""A Linux guest's kernel as its saved state shows it: read by drgn, without the guest's help."""
