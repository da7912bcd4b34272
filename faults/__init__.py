"""The fault suite: what happens to a run when the machine fails it. `python -m faults --help`."""
