"""Stopping runs and clearing what they leave behind."""
