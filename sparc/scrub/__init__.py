"""Takes things out of saved states that exist already."""
