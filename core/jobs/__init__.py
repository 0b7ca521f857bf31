"""One module per job type. Modules whose name begins with an underscore, and fields.py, are shared parts."""
