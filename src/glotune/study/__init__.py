"""Studies: many runs of one question, each in a process of its own, and a report that answers it."""
