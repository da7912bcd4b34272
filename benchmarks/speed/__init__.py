"""What glotune's savings are worth: against Trainer as the recipes' authors ran it, and against Trainer at its best."""
