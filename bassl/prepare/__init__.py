"""Data sets in MovieNet's layout: make, convert and check them. docs/data.md has the formats.

Reading order: `layout` (where files lie), `annotations` and `splits` (the files), `movienet` (a folder into
annotations); `film`, `workers`, `films`, `scene_labels` and `main` (`bassl prepare`); `bbc_ovsd` (BBC and OVSD) and
`arrays` (features from elsewhere); `keyframe_files`, `checks` and `check` (`bassl check-data`).
"""
