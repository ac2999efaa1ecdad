"""A key-frame of a shot, drawn with numpy and Pillow.

A view is drawn once, somewhat larger than the picture and at twice its resolution; a key-frame is a part of it, with
the characters where they are at that time, in the shot's light.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from bassl.procedural.screenplay import Film, Shot
from bassl.procedural.stage import Character, Color, Pattern, Placed, Thing, View

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
MARGIN = 0.2  # of a view beyond the picture on each side, in heights of the picture
DETAIL = 2  # pixels of a view for one of the picture
SWAY = 0.03  # how far a character moves from one key-frame to the next, in heights of the picture


class Camera:
    """Draws the key-frames of a film, `width` x `height` pixels each; keeps the views that it has drawn."""

    def __init__(self, film: Film, width: int, height: int) -> None:
        self.film, self.width, self.height = film, width, height
        self._views: dict[int, Image.Image] = {}

    def keyframes(self, number: int) -> list[Pixels]:
        """The three key-frames of a shot, (height, width, 3) each."""
        shot = self.film.shots[number]
        rng = np.random.default_rng((*self.film.seed, number))
        phase = rng.uniform(0, 2 * np.pi)
        pictures = []
        for time in (-1, 0, 1):
            sharp = self._crop(self._staged(shot.view, phase + 1.3 * time), shot, time)
            light = np.asarray(sharp, np.float32) * np.asarray(shot.gains, np.float32)
            light += self.film.noise * rng.standard_normal((self.height, self.width, 1), np.float32)
            pictures.append(light.clip(0, 255).round().astype(np.uint8))
        return pictures

    def _crop(self, view: Image.Image, shot: Shot, time: int) -> Image.Image:
        scale = DETAIL * self.height
        zoom = max(shot.zoom + time * shot.move[2], 1.0)
        wide, high = DETAIL * self.width / zoom, scale / zoom
        x = view.width / 2 + scale * (shot.position[0] + time * shot.move[0])
        y = view.height / 2 + scale * (shot.position[1] + time * shot.move[1])
        left, top = np.clip(x - wide / 2, 0, view.width - wide), np.clip(y - high / 2, 0, view.height - high)
        box = (float(left), float(top), float(left + wide), float(top + high))
        return view.resize((self.width, self.height), Image.Resampling.BILINEAR, box)

    def _staged(self, number: int, phase: float) -> Image.Image:
        """A view with its characters."""
        view = self.film.views[number]
        if number not in self._views:
            self._views[number] = draw_view(view, self.width / self.height, DETAIL * self.height)
        stage = self._views[number].copy()
        pen = ImageDraw.Draw(stage)
        for turn, placed in enumerate(view.placed):
            if isinstance(placed.what, Character):
                x = placed.x + SWAY * float(np.sin(phase + 2 * turn))
                _draw_character(pen, placed.what, (x + MARGIN, placed.foot + MARGIN), placed.size, DETAIL * self.height)
        return stage


def draw_view(view: View, aspect: float, scale: float) -> Image.Image:
    """Wall, ground and objects of a view with its margin; `scale`: pixels of a picture's height."""
    width, height = round((aspect + 2 * MARGIN) * scale), round((1 + 2 * MARGIN) * scale)
    y, x = np.mgrid[0:height, 0:width] / scale - MARGIN
    tone = 1 - view.pattern.contrast * repeat(view.pattern, x + view.shift[0], y + view.shift[1])
    shade = 1.08 - 0.25 * np.abs(y - 0.3)
    wall = np.asarray(view.palette["wall"]) * (tone * shade)[..., None]
    ground = np.asarray(view.palette["ground"]) * (0.7 + 0.5 * (y - view.horizon).clip(0))[..., None]
    pixels = np.where((y < view.horizon)[..., None], wall, ground)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for placed in view.placed:
        if isinstance(placed.what, Thing):
            _draw_thing(pen, placed, placed.what, scale)
    return image


def repeat(pattern: Pattern, x: Plane, y: Plane) -> Plane:
    """Where a pattern has its second tone, 0 or 1, at places in heights of the picture."""
    turn = np.deg2rad(pattern.angle)
    u = (x * np.cos(turn) + y * np.sin(turn)) / pattern.size
    v = (y * np.cos(turn) - x * np.sin(turn)) / pattern.size
    return REPEATS[pattern.kind](u, v).astype(np.float64)


def _bricks(u: Plane, v: Plane) -> Mask:
    return (v % 0.5 < 0.08) | ((u + 0.5 * (np.floor(2 * v) % 2)) % 1 < 0.08)


def _crosses(u: Plane, v: Plane) -> Mask:
    across, along = np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)
    return (np.minimum(across, along) < 0.1) & (np.maximum(across, along) < 0.38)


REPEATS: dict[str, Callable[[Plane, Plane], Mask]] = {
    "stripes": lambda u, v: u % 1 < 0.5,
    "checks": lambda u, v: (u % 1 < 0.5) ^ (v % 1 < 0.5),
    "dots": lambda u, v: np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3,
    "bricks": _bricks,
    "zigzag": lambda u, v: (v + np.abs(u % 1 - 0.5)) % 0.5 < 0.25,
    "waves": lambda u, v: (v + 0.15 * np.sin(2 * np.pi * u)) % 0.6 < 0.3,
    "rings": lambda u, v: np.hypot(u % 2 - 1, v % 2 - 1) % 0.5 < 0.25,
    "crosses": _crosses,
    "diamonds": lambda u, v: np.abs(u % 1 - 0.5) + np.abs(v % 1 - 0.5) < 0.35,
    "steps": lambda u, v: (v + 0.5 * np.floor(2 * u)) % 1 < 0.25,
}


def _draw_thing(pen: ImageDraw.ImageDraw, placed: Placed, thing: Thing, scale: float) -> None:
    assert placed.color is not None
    high = thing.height * placed.size * scale
    wide = high * thing.aspect
    left, bottom = (placed.x + MARGIN) * scale - wide / 2, (placed.foot + MARGIN) * scale

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        """Fractions of its width and height, from its upper left corner, as pixels."""
        return [(left + x * wide, bottom - high + y * high) for x, y in points]

    color, dark = placed.color, _darker(placed.color)
    if thing.shape == "disc":
        pen.ellipse(at((0, 0), (1, 1)), color, dark, 2)
        pen.ellipse(at((0.3, 0.3), (0.7, 0.7)), dark)
    elif thing.shape == "triangle":
        pen.polygon(at((0.5, 0), (1, 1), (0, 1)), color, dark, 2)
    elif thing.shape == "diamond":
        pen.polygon(at((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)), color, dark, 2)
    elif thing.shape == "arch":
        pen.pieslice(at((0, 0), (1, 1.2)), 180, 360, color)
        pen.rectangle(at((0, 0.58), (1, 1)), color)
        pen.rectangle(at((0.35, 0.5), (0.65, 1)), dark)
    elif thing.shape == "star":
        turns = np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2, 0.2, 0.5)
        corners = zip((0.5 + reach * np.sin(turns)).tolist(), (0.5 - reach * np.cos(turns)).tolist(), strict=True)
        pen.polygon(at(*corners), color, dark, 2)
    elif thing.shape == "vase":
        pen.ellipse(at((0.1, 0.35), (0.9, 1)), color)
        pen.rectangle(at((0.38, 0), (0.62, 0.5)), color)
        pen.rectangle(at((0.3, 0), (0.7, 0.08)), dark)
    elif thing.shape == "lamp":
        pen.rectangle(at((0.46, 0.3), (0.54, 1)), dark)
        pen.polygon(at((0.25, 0), (0.75, 0), (1, 0.4), (0, 0.4)), color)
    else:
        pen.rectangle(at((0, 0), (1, 1)), color, dark, 2)
        if thing.shape == "frame":
            pen.rectangle(at((0.15, 0.15), (0.85, 0.85)), dark)
            pen.ellipse(at((0.3, 0.3), (0.7, 0.7)), color)


def _draw_character(
    pen: ImageDraw.ImageDraw, who: Character, foot: tuple[float, float], size: float, scale: float
) -> None:
    high, wide = who.height * size * scale, who.width * size * scale
    middle, bottom = foot[0] * scale, foot[1] * scale
    head = 0.26 * high
    neck, waist = bottom - high + head, bottom - 0.35 * high
    pen.rectangle((middle - 0.32 * wide, waist, middle + 0.32 * wide, bottom), who.trousers)
    if who.body == "block":
        pen.rectangle((middle - wide / 2, neck, middle + wide / 2, waist), who.clothes)
    elif who.body == "wedge":
        corners = [(middle - 0.7 * wide, neck), (middle + 0.7 * wide, neck)]
        pen.polygon([*corners, (middle + 0.3 * wide, waist), (middle - 0.3 * wide, waist)], who.clothes)
    else:
        pen.ellipse((middle - 0.65 * wide, neck, middle + 0.65 * wide, waist + 0.08 * high), who.clothes)
    face = (middle - head / 2, neck - head, middle + head / 2, neck + 0.04 * high)
    (pen.rectangle if who.is_square_headed else pen.ellipse)(face, who.skin)
    for side in (-0.2, 0.2):
        x, y, eye = middle + side * head, neck - 0.55 * head, 0.07 * head
        pen.ellipse((x - eye, y - eye, x + eye, y + eye), (20, 20, 20))
    if who.hat is not None:
        brim = neck - 0.8 * head
        pen.rectangle((middle - 0.7 * head, brim - 0.08 * head, middle + 0.7 * head, brim + 0.04 * head), who.hat)
        pen.rectangle((middle - 0.42 * head, brim - 0.45 * head, middle + 0.42 * head, brim), who.hat)


def _darker(color: Color) -> Color:
    red, green, blue = color
    return int(0.55 * red), int(0.55 * green), int(0.55 * blue)
