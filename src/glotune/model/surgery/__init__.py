"""What is done to an encoder before training: truncate, trim, freeze, adapt."""
