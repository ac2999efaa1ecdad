"""What a segmentation is written as: one module a kind of file, all of them `write(path, segmentation)`.

`formats` knows them by name. Times that editors read are counted at a constant rate (`Moment.position`),
times that players read are seconds on the player's clock (`Moment.seconds`).
"""
