"""A video file to its shots and their key-frames, in one pass and without holding more than a few pictures.

Reading order: `film_files` (which files are films), `reader` (frames and their times, through PyAV), `timing` and
`timecode` (frames to seconds and back), `cuts` and `transnet` (where shots end), `keyframes` and `refetch` (three
pictures a shot), `settings` and `shot_list` (how shots are found, or given), `extras` (what to install).
"""
