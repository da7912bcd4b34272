"""Figures of a run as typed data: what they show. How it looks is `report.drawing`, the page and the terminal."""
