"""Pretraining on the engine of `glotune.engine`: the same loop, steps and checkpoints over other data."""
