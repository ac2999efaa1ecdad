"""Scene labels of films, in whatever form people have them.

Reading order: `tables` (text tables), `label_files` (one label per shot), `scene_lists` (scenes in frames, seconds or
timecodes), `snapping` (scene ends to shots), `film_names` (which label belongs to which film), `findings` (reports).
"""
