"""Scene labels of films, from whatever form people have them in.

Reading order: `label_files` (a label a shot), `scene_lists` (scenes by frames, seconds or timecode), `scene_ends`
(snaps those to shots), `protocols` (several annotators into one), `film_names` (which list belongs to which film),
`findings` (what was odd).
"""
