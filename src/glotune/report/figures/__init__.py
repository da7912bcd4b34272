"""Figures of a run: what they show is typed data (`data`, `build_*`), how it looks is apart (`draw_*`)."""
