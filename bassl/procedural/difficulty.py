"""One number, from 0 to 1, for how hard it is to tell the scenes of a film apart, and what it stands for."""

from __future__ import annotations

from dataclasses import dataclass

from bassl.errors import InputError

DEFAULT = 0.5


@dataclass(frozen=True)
class Difficulty:
    """What the drawing reads. Probabilities and shares lie in 0..1.

    shared_palette: share of a scene's colours that are the film's and come back in its other scenes.
    view_spread: share of a view's colours that are not its scene's but any of the film's.
    exposure: how far the light of a shot is off, in stops (standard deviation).
    tint: how far its white balance is off (standard deviation of the gain of red and of blue).
    noise: sensor noise, in grey levels of 255 (standard deviation).
    cutaways: probability that a shot shows something that is seen only once.
    shared_cast: probability that a character or an object belongs to the film and not to the scene alone.
    shared_motif: probability that a scene's walls have the kind of pattern of the scene before.
    """

    shared_palette: float
    view_spread: float
    exposure: float
    tint: float
    noise: float
    cutaways: float
    shared_cast: float
    shared_motif: float

    @classmethod
    def of(cls, number: float) -> Difficulty:
        """The meaning of a difficulty; everything grows in proportion. Raises InputError outside 0..1."""
        if not 0 <= number <= 1:
            raise InputError(f"difficulty {number} cannot work; give a number from 0 (easy) to 1 (hard)")
        return cls(
            shared_palette=number,
            view_spread=number,
            exposure=0.05 + 0.45 * number,
            tint=0.01 + 0.15 * number,
            noise=1 + 11 * number,
            cutaways=0.3 * number,
            shared_cast=0.1 + 0.7 * number,
            shared_motif=0.5 * number,
        )
