"""One number from 0 to 1 for how hard it is to separate the scenes of a film."""

from __future__ import annotations

from dataclasses import dataclass

from bassl.errors import InputError

DEFAULT = 0.5


@dataclass(frozen=True)
class Difficulty:
    """What a difficulty stands for; fractions and probabilities lie in 0..1.

    Attributes:
        shared_palette: fraction of a scene's colours that belong to the film and recur in other scenes.
        view_spread: fraction of a view's colours that are any of the film's instead of its scene's.
        turn: rotation of the wall's pattern between views, standard deviation in degrees.
        exposure: exposure of a shot, standard deviation in stops.
        tint: white balance of a shot, standard deviation of the gains of red and blue.
        noise: sensor noise, standard deviation in grey levels of 255.
        cutaways: probability that a shot has a view of its own.
        shared_cast: probability that a character or an object belongs to the film instead of the scene.
        shared_motif: probability that a scene's walls have the kind of pattern of the previous scene.
    """

    shared_palette: float
    view_spread: float
    turn: float
    exposure: float
    tint: float
    noise: float
    cutaways: float
    shared_cast: float
    shared_motif: float

    @classmethod
    def of(cls, number: float) -> Difficulty:
        """Return the meaning of a difficulty; all grow linearly. Raises InputError outside 0..1."""
        if not 0 <= number <= 1:
            raise InputError(f"difficulty {number} is out of range; give a number from 0 (easy) to 1 (hard)")
        return cls(
            shared_palette=number,
            view_spread=number,
            turn=50 * number,
            exposure=0.05 + 0.45 * number,
            tint=0.01 + 0.15 * number,
            noise=1 + 11 * number,
            cutaways=0.3 * number,
            shared_cast=0.1 + 0.7 * number,
            shared_motif=0.5 * number,
        )
