"""Pictures: `style.py` is their common look, `tiles.py` places key-frames, and every other file draws one picture."""
