"""A trained run out of the workshop: smaller, in another format, its answers compared with the run's."""
