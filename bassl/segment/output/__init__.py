"""Writers of a segmentation, one per format, all of them `write(path, segmentation)`; `results` knows them by name.

Times for editors are counted at a constant rate (`Moment.position`). Times for players are seconds on the player's
clock (`Moment.seconds`).
"""
