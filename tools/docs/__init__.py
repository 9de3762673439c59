"""What the documentation is made with: a hook of mkdocs, and the picture of a checkpoint."""
