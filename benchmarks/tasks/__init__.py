"""What each task reaches on real texts: one part a run, each resumed where it stopped and skipped once it is done."""
