"""Runs on other machines: the task for SkyPilot, the job that it runs there, and the way back of the results."""
