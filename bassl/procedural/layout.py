"""Places, characters and views of a scene, before anything is filmed.

Lengths are fractions of the picture's height. Pattern, objects and characters make all views of a scene one place;
colours do so only as far as the difficulty allows.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from bassl.procedural.difficulty import Difficulty

Color = tuple[int, int, int]
Palette = dict[str, Color]
PATTERNS = ("stripes", "checks", "dots", "bricks", "zigzag", "waves", "rings", "crosses", "squares", "steps")
SHAPES = ("box", "disc", "triangle", "diamond", "arch", "star", "vase", "lamp", "frame")
OBJECTS = ("first object", "second object", "third object")
PARTS = {
    "wall": ((0.35, 0.7), (0.5, 0.85), 0.03),
    "ground": ((0.25, 0.55), (0.25, 0.5), 0.08),
    **dict.fromkeys(OBJECTS, ((0.5, 0.9), (0.4, 0.9), 0.12)),
}
"""Range of saturation, range of brightness, and distance of the hue from the scene's, of each part of a view."""
VARIANTS = 5  # colours of a film per part
NUM_CAST = 4  # characters, and objects, of a film
KINDS_OF_VIEW = {"wide": 0.8, "first": 1.25, "second": 1.25, "cutaway": 1.4}
"""Kind of view and how large it shows things: both characters, one of them, or none."""


@dataclass(frozen=True)
class Pattern:
    """A wall's pattern. size: of one repeat. angle: in degrees. contrast: of its two tones, 0..1."""

    kind: str
    size: float
    angle: float
    contrast: float


@dataclass(frozen=True)
class Thing:
    """An object; aspect is width over height."""

    shape: str
    height: float
    aspect: float


@dataclass(frozen=True)
class Character:
    """Shape, build and clothes of a character."""

    is_square_headed: bool
    body: str
    height: float
    width: float
    skin: Color
    clothes: Color
    trousers: Color
    hat: Color | None


@dataclass(frozen=True)
class Placed:
    """A thing or character in a view.

    Attributes:
        x: its middle, from the left.
        foot: its lower end, from above.
        size: factor on its own size.
        color: of a thing, None for a character.
    """

    what: Thing | Character
    x: float
    foot: float
    size: float
    color: Color | None


@dataclass(frozen=True)
class View:
    """A camera set-up with its colours. horizon: where the wall ends, from above."""

    palette: Palette
    pattern: Pattern
    shift: tuple[float, float]
    horizon: float
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class World:
    """What the scenes of a film share: colours per part, characters and objects."""

    colors: dict[str, tuple[Color, ...]]
    characters: tuple[Character, ...]
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Place:
    """What the views of a scene share. hue: 0..1."""

    hue: float
    palette: Palette
    pattern: Pattern
    characters: tuple[Character, ...]
    things: tuple[Thing, ...]


def draw_world(rng: np.random.Generator) -> World:
    """Draw what a film's scenes share."""
    colors = {part: tuple(_color(part, rng.random(), rng) for _ in range(VARIANTS)) for part in PARTS}
    characters = tuple(_character(rng) for _ in range(NUM_CAST))
    return World(colors, characters, tuple(_thing(rng) for _ in range(NUM_CAST)))


def draw_place(world: World, previous: Place | None, difficulty: Difficulty, rng: np.random.Generator) -> Place:
    """Draw the place of a scene: with another hue than the previous one and, mostly, another kind of pattern."""
    # 1. colours and pattern
    hue = rng.random() if previous is None else (previous.hue + rng.uniform(0.25, 0.75)) % 1
    palette = {part: _color(part, hue, rng) for part in PARTS}
    palette = _mix(palette, world, difficulty.shared_palette, rng)
    keeps_kind = rng.random() < difficulty.shared_motif
    kinds = [kind for kind in PATTERNS if previous is None or (kind == previous.pattern.kind) == keeps_kind]
    pattern = Pattern(
        kind=str(rng.choice(kinds)),
        size=rng.uniform(0.12, 0.3),
        angle=rng.uniform(-40, 40),
        contrast=rng.uniform(0.25, 0.5),
    )
    # 2. characters and objects
    characters = [
        world.characters[number] if rng.random() < difficulty.shared_cast else _character(rng)
        for number in rng.permutation(NUM_CAST)[:2].tolist()
    ]
    things = [
        world.things[number] if rng.random() < difficulty.shared_cast else _thing(rng)
        for number in rng.permutation(NUM_CAST)[:3].tolist()
    ]
    return Place(hue, palette, pattern, tuple(characters), tuple(things))


def draw_view(place: Place, world: World, kind: str, difficulty: Difficulty, rng: np.random.Generator) -> View:
    """Draw a camera set-up of a place, of one of KINDS_OF_VIEW."""
    size = KINDS_OF_VIEW[kind]
    palette = _mix(place.palette, world, difficulty.view_spread, rng)
    horizon = rng.uniform(0.55, 0.75)
    placed = []
    # 1. two or three objects, on the ground or on the wall
    corners = rng.permutation([0.2, 0.6, 1.15, 1.55]).tolist()
    num_things = int(rng.integers(2, 4))
    for number, x in zip(rng.permutation(len(place.things))[:num_things].tolist(), corners, strict=False):
        foot = rng.choice([horizon + rng.uniform(0.02, 0.15), rng.uniform(0.3, 0.45)])
        x += rng.normal(0, 0.05)
        placed.append(Placed(place.things[number], x, float(foot), size, palette[OBJECTS[number]]))
    # 2. the characters
    first, second = place.characters
    seen = {"wide": (first, second), "first": (first,), "second": (second,), "cutaway": ()}[kind]
    middle = [0.6, 1.2] if kind == "wide" else [rng.choice([0.65, 0.9, 1.15])]
    for character, x in zip(seen, middle, strict=False):
        placed.append(Placed(character, x + rng.normal(0, 0.06), 0.8 + 0.25 * size, size, None))
    # 3. the wall
    angle = place.pattern.angle + rng.normal(0, difficulty.turn)
    pattern = replace(place.pattern, size=place.pattern.size * size, angle=angle)
    return View(palette, pattern, (rng.random(), rng.random()), horizon, tuple(placed))


def _mix(palette: Palette, world: World, fraction: float, rng: np.random.Generator) -> Palette:
    """Replace each colour by one of the film's with a probability of `fraction`."""
    film = {part: world.colors[part][int(rng.integers(VARIANTS))] for part in PARTS}
    return {part: film[part] if rng.random() < fraction else palette[part] for part in PARTS}


def _color(part: str, hue: float, rng: np.random.Generator) -> Color:
    saturation, brightness, spread = PARTS[part]
    return _rgb(hue + rng.normal(0, spread), rng.uniform(*saturation), rng.uniform(*brightness))


def _rgb(hue: float, saturation: float, brightness: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def _thing(rng: np.random.Generator) -> Thing:
    return Thing(str(rng.choice(SHAPES)), rng.uniform(0.14, 0.32), rng.uniform(0.5, 1.6))


def _character(rng: np.random.Generator) -> Character:
    return Character(
        is_square_headed=bool(rng.random() < 0.3),
        body=str(rng.choice(("block", "wedge", "round"))),
        height=rng.uniform(0.5, 0.65),
        width=rng.uniform(0.16, 0.28),
        skin=_rgb(rng.uniform(0.02, 0.1), rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.95)),
        clothes=_rgb(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.9)),
        trousers=_rgb(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.15, 0.5)),
        hat=_rgb(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.8)) if rng.random() < 0.4 else None,
    )
