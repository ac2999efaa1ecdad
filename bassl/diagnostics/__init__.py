"""Pictures and tables about a finished run: `python -m bassl.diagnostics.main --help`."""
