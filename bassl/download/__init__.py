"""Fetching MovieNet: `python3 -m bassl.download.main`. Standard library only: it runs before torch is there."""
