"""Draw a finished run: `python -m bassl.diagnostics.main --help`. `run.py` reads it, `pictures.py` draws it."""
