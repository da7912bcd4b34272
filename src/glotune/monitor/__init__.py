"""Watches runs by their directories: in the terminal, as a snapshot for scripts, or as a page in the browser."""
