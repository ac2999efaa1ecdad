"""`python3 -m bassl.diagnostics.main --run FOLDER`: the pictures that a researcher looks at after a run."""
