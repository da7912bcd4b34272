"""Numbers: scores, intervals, tests, calibration. NumPy, SciPy and scikit-learn only."""
