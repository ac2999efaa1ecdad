"""Data sets in MovieNet's layout: made, converted, checked. docs/data.md has the formats.

Reading order: layout (where things lie), splits and annotations (the files), movienet (a folder into annotations);
film, workers, own_films, scene_labels and main (`bassl prepare`); benchmarks (BBC, OVSD), arrays (features from
elsewhere); keyframe_files, inspection, consistency, stores and check (`bassl check-data`). Videos are read by
`bassl.video`, labels by `bassl.labels`.
"""
