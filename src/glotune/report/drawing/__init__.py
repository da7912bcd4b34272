"""Figures as pictures, drawn with matplotlib from the data of `report.figures`."""
