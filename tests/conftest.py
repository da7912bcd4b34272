"""Makes the helpers beside this file (made_runs, encoders, ...) importable from every test folder."""
