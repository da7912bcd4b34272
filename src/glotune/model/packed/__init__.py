"""Texts end to end through the layers of an encoder, without padding."""
