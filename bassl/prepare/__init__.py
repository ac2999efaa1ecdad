"""Data sets in MovieNet's layout: made, converted, checked. docs/data.md has the formats.

Reading order: layout (where things lie), labels, splits and annotations (the files), movienet (a folder into
annotations); film, workers, own_films and main (`bassl prepare`), scenes and scene_labels (scene lists); protocols
and benchmarks (BBC, OVSD), arrays (features from elsewhere); keyframe_files, inspection, consistency, stores and
check (`bassl check-data`).
"""
