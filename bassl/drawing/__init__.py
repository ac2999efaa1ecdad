"""Pictures of films: timelines, strips and sheets of key-frames, on matplotlib without a display."""
