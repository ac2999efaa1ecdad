"""What a scene holds before it is filmed: its place (walls with a pattern, objects), its characters, and its views.

Colours and sizes are plain numbers; lengths are fractions of the picture's height. What makes a scene one place in
all of its views is the wall's pattern, the objects and the characters; its colours only as far as the difficulty says.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from bassl.procedural.difficulty import Difficulty

Color = tuple[int, int, int]
PATTERNS = ("stripes", "checks", "dots", "bricks", "zigzag", "waves", "rings", "crosses", "diamonds", "steps")
SHAPES = ("box", "disc", "triangle", "diamond", "arch", "star", "vase", "lamp", "frame")
# Saturation and brightness of the parts of a view, (low, high) each, and how far its hue is from the scene's.
PARTS = {
    "wall": ((0.35, 0.7), (0.5, 0.85), 0.03),
    "ground": ((0.25, 0.55), (0.25, 0.5), 0.08),
    "first object": ((0.5, 0.9), (0.4, 0.9), 0.12),
    "second object": ((0.5, 0.9), (0.4, 0.9), 0.12),
    "third object": ((0.5, 0.9), (0.4, 0.9), 0.12),
}
OBJECTS = ("first object", "second object", "third object")
VARIANTS = 5  # colours that a film has for each part
NUM_CAST = 4  # characters and objects that belong to the film

Palette = dict[str, Color]


@dataclass(frozen=True)
class Pattern:
    """Of a wall. size: of one repeat. angle: degrees. contrast: of its two tones, 0..1."""

    kind: str
    size: float
    angle: float
    contrast: float


@dataclass(frozen=True)
class Thing:
    """An object: its shape, height and width over height."""

    shape: str
    height: float
    aspect: float


@dataclass(frozen=True)
class Character:
    """Body and head shapes, build and clothes."""

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
    """Something in a view. x: its middle, from the left, in heights of the picture. foot: its lower end, from above.
    size: factor of its own. color: of an object, None for a character."""

    what: Thing | Character
    x: float
    foot: float
    size: float
    color: Color | None


@dataclass(frozen=True)
class View:
    """A camera set-up: what it sees and in which colours. horizon: where the wall ends, from above."""

    palette: Palette
    pattern: Pattern
    shift: tuple[float, float]
    horizon: float
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class World:
    """What the scenes of a film have in common: colours for each part, characters and objects."""

    colors: dict[str, tuple[Color, ...]]
    characters: tuple[Character, ...]
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Place:
    """What the views of one scene have in common. hue: 0..1."""

    hue: float
    palette: Palette
    pattern: Pattern
    characters: tuple[Character, ...]
    things: tuple[Thing, ...]


def draw_world(rng: np.random.Generator) -> World:
    """What a film's scenes share."""
    colors = {part: tuple(_color(part, rng.random(), rng) for _ in range(VARIANTS)) for part in PARTS}
    characters = tuple(_character(rng) for _ in range(NUM_CAST))
    return World(colors, characters, tuple(_thing(rng) for _ in range(NUM_CAST)))


def draw_place(world: World, before: Place | None, difficulty: Difficulty, rng: np.random.Generator) -> Place:
    """The place of the next scene: another hue than the one before, and mostly another kind of pattern."""
    hue = rng.random() if before is None else (before.hue + rng.uniform(0.25, 0.75)) % 1
    palette = {part: _color(part, hue, rng) for part in PARTS}
    palette = _mixed(palette, world, difficulty.shared_palette, rng)
    takes_over = rng.random() < difficulty.shared_motif
    kinds = [kind for kind in PATTERNS if before is None or (kind == before.pattern.kind) == takes_over]
    pattern = Pattern(
        kind=str(rng.choice(kinds)),
        size=rng.uniform(0.12, 0.3),
        angle=rng.uniform(-40, 40),
        contrast=rng.uniform(0.25, 0.5),
    )
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
    """A camera set-up. kind: "wide" (both characters), "first" or "second" (one of them, closer), "cutaway" (none)."""
    size = {"wide": 0.8, "first": 1.25, "second": 1.25, "cutaway": 1.4}[kind]
    seen = {"wide": place.characters, "first": place.characters[:1], "second": place.characters[1:], "cutaway": ()}
    palette = _mixed(place.palette, world, difficulty.view_spread, rng)
    horizon = rng.uniform(0.55, 0.75)
    placed = []
    corners = rng.permutation([0.2, 0.6, 1.15, 1.55]).tolist()
    num_things = int(rng.integers(2, 4))
    for number, x in zip(rng.permutation(len(place.things))[:num_things].tolist(), corners, strict=False):
        foot = rng.choice([horizon + rng.uniform(0.02, 0.15), rng.uniform(0.3, 0.45)])  # on the ground, or on the wall
        thing = Placed(place.things[number], x + rng.normal(0, 0.05), float(foot), size, palette[OBJECTS[number]])
        placed.append(thing)
    middle = [0.6, 1.2] if kind == "wide" else [rng.choice([0.65, 0.9, 1.15])]
    for character, x in zip(seen[kind], middle, strict=False):
        placed.append(Placed(character, x + rng.normal(0, 0.06), 0.8 + 0.25 * size, size, None))
    pattern = replace(place.pattern, size=place.pattern.size * size)
    return View(palette, pattern, (rng.random(), rng.random()), horizon, tuple(placed))


def _mixed(palette: Palette, world: World, share: float, rng: np.random.Generator) -> Palette:
    """The palette with each colour replaced, with a probability of `share`, by one of the film's."""
    film = {part: world.colors[part][int(rng.integers(VARIANTS))] for part in PARTS}
    return {part: film[part] if rng.random() < share else palette[part] for part in PARTS}


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
