"""A film before it is drawn: its scenes, the view of each shot, how the camera moves and how long it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError
from bassl.labels.label_files import NO_LABEL, Labels
from bassl.procedural.difficulty import Difficulty
from bassl.procedural.stage import View, draw_place, draw_view, draw_world

SCENE_LENGTHS = (5, 15)  # shots; a scene every tenth shot, MovieNet's is every thirteenth
SHORTEST_SCENE = 3
SHOT_LENGTHS = (24, 144)  # frames
MOVES = ("still", "pan", "tilt", "push", "drift")


@dataclass(frozen=True)
class Shot:
    """An unbroken take. scene: its number in the film. view: index into the film's views.

    position: of the picture's middle at the second key-frame, in heights of the picture from the view's middle, (x, y).
    zoom: factor at that time. move: (x, y, zoom) from one key-frame to the next. gains: of red, green and blue.
    """

    scene: int
    view: int
    position: tuple[float, float]
    zoom: float
    move: tuple[float, float, float]
    gains: tuple[float, float, float]


@dataclass(frozen=True)
class Film:
    """A film to draw. seed, noise: of the grain, in grey levels. frames: (num_shots, 2), first and last of a shot."""

    seed: tuple[int, ...]
    views: tuple[View, ...]
    shots: tuple[Shot, ...]
    frames: NDArray[np.int64]
    noise: float

    @property
    def labels(self) -> Labels:
        """(num_shots,): 1 a scene ends with this shot, 0 not; none for the last, as in MovieNet's label files."""
        scenes = np.array([shot.scene for shot in self.shots])
        return np.append(np.diff(scenes), NO_LABEL).astype(np.int8)


def write_screenplay(seed: int, film: int, num_shots: int, difficulty: float) -> Film:
    """Film number `film` of a seed: a function of its arguments. Raises InputError for numbers that cannot work."""
    settings = Difficulty.of(difficulty)
    if num_shots < SHORTEST_SCENE:
        raise InputError(f"a film of {num_shots} shots has no scenes; give {SHORTEST_SCENE} or more")
    if seed < 0:
        raise InputError(f"seed {seed} cannot work; give 0 or more")
    rng = np.random.default_rng((seed, film))
    world, place = draw_world(rng), None
    views: list[View] = []
    shots: list[Shot] = []
    for scene, length in enumerate(_scene_lengths(num_shots, rng)):
        place = draw_place(world, place, settings, rng)
        first_view = len(views)
        views += [draw_view(place, world, kind, settings, rng) for kind in ("wide", "first", "second")]
        for number in _alternation(length, rng):
            if rng.random() < settings.cutaways:
                views.append(draw_view(place, world, "cutaway", settings, rng))
                shots.append(_shot(scene, len(views) - 1, settings, rng))
            else:
                shots.append(_shot(scene, first_view + number, settings, rng))
    ends = np.cumsum(rng.integers(*SHOT_LENGTHS, size=num_shots, endpoint=True))
    frames = np.stack([np.append(0, ends[:-1]), ends - 1], axis=1)
    return Film((seed, film), tuple(views), tuple(shots), frames, settings.noise)


def _scene_lengths(num_shots: int, rng: np.random.Generator) -> list[int]:
    lengths: list[int] = []
    while (left := num_shots - sum(lengths)) > 0:
        length = min(int(rng.integers(*SCENE_LENGTHS, endpoint=True)), left)
        lengths.append(left if left - length < SHORTEST_SCENE else length)
    return lengths


def _alternation(length: int, rng: np.random.Generator) -> list[int]:
    """Views (0 wide, 1 and 2 a character each) of a scene's shots: it opens wide or close, and cuts back and forth."""
    order = [0 if rng.random() < 0.6 else 1]
    while len(order) < length:
        last = order[-1]
        if last == 0:
            order.append(int(rng.integers(1, 3)))
        else:
            order.append(3 - last if rng.random() < 0.75 else 0)
    return order


def _shot(scene: int, view: int, settings: Difficulty, rng: np.random.Generator) -> Shot:
    kind = str(rng.choice(MOVES))
    sideways, upwards = rng.choice([-1, 1], size=2) * rng.uniform(0.04, 0.1, size=2)
    x, y, zoom = {
        "still": (0.0, 0.0, 0.0),
        "pan": (sideways, 0.0, 0.0),
        "tilt": (0.0, upwards / 2, 0.0),
        "push": (0.0, 0.0, abs(upwards)),
        "drift": (sideways / 2, upwards / 4, abs(upwards) / 2),
    }[kind]
    exposure = 2 ** rng.normal(0, settings.exposure)
    red, blue = 1 + rng.normal(0, settings.tint, size=2).clip(-0.5, 0.5)
    return Shot(
        scene=scene,
        view=view,
        position=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.04, 0.04))),
        zoom=float(rng.uniform(1.0, 1.2)),
        move=(float(x), float(y), float(zoom)),
        gains=(float(exposure * red), float(exposure), float(exposure * blue)),
    )
