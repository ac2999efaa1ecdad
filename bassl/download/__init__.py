"""Download MovieNet: `python3 -m bassl.download.main`. Standard library only, as it runs before torch is installed.

Reading order: `sources` (what to download), `fetch` (one file over HTTP), `archive` (unpack it), `main`.
"""
