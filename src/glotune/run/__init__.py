"""A run on disk: its records, directory, lock, state and history, read in one place. Never imports torch."""
