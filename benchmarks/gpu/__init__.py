"""XLM-R shapes on one GPU, everything in one call: the real step against the real Trainer."""
