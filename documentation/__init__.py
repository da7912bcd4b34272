"""What of the documentation site is made, not written: reference pages from the code, pictures from the code's data."""
