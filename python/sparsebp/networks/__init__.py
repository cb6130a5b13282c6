"""Network definitions, files of their weights, and making networks smaller."""
