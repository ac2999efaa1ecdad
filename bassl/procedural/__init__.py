"""Procedural films: drawn from a seed, in MovieNet's layout, with scenes that are known exactly (docs/procedural.md).

Reading order: `difficulty.py` (what the one parameter means), `stage.py` (places, casts and views of a scene),
`screenplay.py` (which shot shows which view, and how), `picture.py` (a key-frame of a shot), `write.py` (a data set
of films), `main.py` (the command). `contact_sheet.py` shows a film at a glance, `baselines.py` says how well colour
alone finds its scenes. Nothing here needs torch but the baselines.
"""
