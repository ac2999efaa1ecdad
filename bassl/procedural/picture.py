"""Draw the key-frames of a shot with numpy and Pillow.

A view is drawn once, larger than the picture and at twice its resolution. A key-frame is a part of it, with the
characters where they stand at that time, in the shot's light.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from bassl.procedural.layout import Character, Pattern, Placed, Thing, View
from bassl.procedural.shot_plan import Film, Shot

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
MARGIN = 0.2  # of a view beyond the picture on each side, in heights of the picture
DETAIL = 2  # pixels of a view per pixel of the picture
SWAY = 0.03  # of a character from one key-frame to the next, in heights of the picture


class Camera:
    """Draw the key-frames of a film, `width` x `height` pixels each; views are kept once drawn."""

    def __init__(self, film: Film, width: int, height: int) -> None:
        self.film, self.width, self.height = film, width, height
        self._views: dict[int, Image.Image] = {}

    def keyframes(self, number: int) -> list[Pixels]:
        """Draw the three key-frames of a shot, (height, width, 3) each."""
        shot = self.film.shots[number]
        rng = np.random.default_rng((*self.film.seed, number))
        phase = rng.uniform(0, 2 * np.pi)
        pictures = []
        for time in (-1, 0, 1):
            sharp = self._crop(self._with_characters(shot.view, phase + 1.3 * time), shot, time)
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

    def _with_characters(self, number: int, phase: float) -> Image.Image:
        view = self.film.views[number]
        if number not in self._views:
            self._views[number] = draw_view(view, self.width / self.height, DETAIL * self.height)
        image = self._views[number].copy()
        pen = ImageDraw.Draw(image)
        for turn, placed in enumerate(view.placed):
            if isinstance(placed.what, Character):
                x = placed.x + SWAY * float(np.sin(phase + 2 * turn))
                _draw_character(pen, placed.what, (x + MARGIN, placed.foot + MARGIN), placed.size, DETAIL * self.height)
        return image


def draw_view(view: View, aspect: float, scale: float) -> Image.Image:
    """Draw wall, ground and objects of a view with its margin; `scale`: pixels of a picture's height."""
    width, height = round((aspect + 2 * MARGIN) * scale), round((1 + 2 * MARGIN) * scale)
    y, x = np.mgrid[0:height, 0:width] / scale - MARGIN
    tone = 1 - view.pattern.contrast * second_tone(view.pattern, x + view.shift[0], y + view.shift[1])
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


def second_tone(pattern: Pattern, x: Plane, y: Plane) -> Plane:
    """Return 1 where a pattern has its second tone, else 0, at places in heights of the picture."""
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
    "squares": lambda u, v: np.maximum(np.abs(u % 2 - 1), np.abs(v % 2 - 1)) % 0.5 < 0.25,
    "steps": lambda u, v: (v + 0.5 * np.floor(2 * u)) % 1 < 0.25,
}
"""Where each pattern has its second tone, at places counted in repeats."""

_TURNS, _REACH = np.arange(10) * np.pi / 5, np.where(np.arange(10) % 2, 0.2, 0.5)
_STAR = tuple(zip((0.5 + _REACH * np.sin(_TURNS)).tolist(), (0.5 - _REACH * np.cos(_TURNS)).tolist(), strict=True))
_ALL, _CORE = ((0, 0), (1, 1)), ((0.3, 0.3), (0.7, 0.7))
PARTS_OF_SHAPES: dict[str, tuple[tuple[str, tuple[tuple[float, float], ...], str], ...]] = {
    "box": (("rectangle", _ALL, "outlined"),),
    "disc": (("ellipse", _ALL, "outlined"), ("ellipse", _CORE, "dark")),
    "triangle": (("polygon", ((0.5, 0), (1, 1), (0, 1)), "outlined"),),
    "diamond": (("polygon", ((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)), "outlined"),),
    "arch": (
        ("pieslice", ((0, 0), (1, 1.2)), "plain"),
        ("rectangle", ((0, 0.58), (1, 1)), "plain"),
        ("rectangle", ((0.35, 0.5), (0.65, 1)), "dark"),
    ),
    "star": (("polygon", _STAR, "outlined"),),
    "vase": (
        ("ellipse", ((0.1, 0.35), (0.9, 1)), "plain"),
        ("rectangle", ((0.38, 0), (0.62, 0.5)), "plain"),
        ("rectangle", ((0.3, 0), (0.7, 0.08)), "dark"),
    ),
    "lamp": (
        ("rectangle", ((0.46, 0.3), (0.54, 1)), "dark"),
        ("polygon", ((0.25, 0), (0.75, 0), (1, 0.4), (0, 0.4)), "plain"),
    ),
    "frame": (
        ("rectangle", _ALL, "outlined"),
        ("rectangle", ((0.15, 0.15), (0.85, 0.85)), "dark"),
        ("ellipse", _CORE, "plain"),
    ),
}
"""How to draw each shape: method of Pillow's pen, points in fractions of width and height from above, and tone."""


def _draw_thing(pen: ImageDraw.ImageDraw, placed: Placed, thing: Thing, scale: float) -> None:
    assert placed.color is not None
    high = thing.height * placed.size * scale
    wide = high * thing.aspect
    left, top = (placed.x + MARGIN) * scale - wide / 2, (placed.foot + MARGIN) * scale - high
    red, green, blue = placed.color
    dark = (int(0.55 * red), int(0.55 * green), int(0.55 * blue))
    tones = {"plain": (placed.color,), "dark": (dark,), "outlined": (placed.color, dark, 2)}
    for method, points, tone in PARTS_OF_SHAPES[thing.shape]:
        corners = [(left + x * wide, top + y * high) for x, y in points]
        angles = (180, 360) if method == "pieslice" else ()
        getattr(pen, method)(corners, *angles, *tones[tone])


def _draw_character(
    pen: ImageDraw.ImageDraw, who: Character, foot: tuple[float, float], size: float, scale: float
) -> None:
    high, wide = who.height * size * scale, who.width * size * scale
    middle, bottom = foot[0] * scale, foot[1] * scale
    head = 0.26 * high
    neck, waist = bottom - high + head, bottom - 0.35 * high
    # 1. body
    pen.rectangle((middle - 0.32 * wide, waist, middle + 0.32 * wide, bottom), who.trousers)
    if who.body == "block":
        pen.rectangle((middle - wide / 2, neck, middle + wide / 2, waist), who.clothes)
    elif who.body == "wedge":
        corners = [(middle - 0.7 * wide, neck), (middle + 0.7 * wide, neck)]
        pen.polygon([*corners, (middle + 0.3 * wide, waist), (middle - 0.3 * wide, waist)], who.clothes)
    else:
        pen.ellipse((middle - 0.65 * wide, neck, middle + 0.65 * wide, waist + 0.08 * high), who.clothes)
    # 2. head
    face = (middle - head / 2, neck - head, middle + head / 2, neck + 0.04 * high)
    (pen.rectangle if who.is_square_headed else pen.ellipse)(face, who.skin)
    for side in (-0.2, 0.2):
        x, y, eye = middle + side * head, neck - 0.55 * head, 0.07 * head
        pen.ellipse((x - eye, y - eye, x + eye, y + eye), (20, 20, 20))
    if who.hat is not None:
        brim = neck - 0.8 * head
        pen.rectangle((middle - 0.7 * head, brim - 0.08 * head, middle + 0.7 * head, brim + 0.04 * head), who.hat)
        pen.rectangle((middle - 0.42 * head, brim - 0.45 * head, middle + 0.42 * head, brim), who.hat)
