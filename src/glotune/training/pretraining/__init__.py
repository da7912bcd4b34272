"""Pretraining on the engine of `glotune.training`: the same loop, steps and checkpoints over other data."""
