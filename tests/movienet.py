"""A tiny data set in MovieNet's layout, made from a seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ndjson
import numpy as np
import numpy.typing as npt
from PIL import Image

FILMS: dict[str, int] = {"tt0000001": 40, "tt0000002": 31, "tt0000003": 24}
WIDTH, HEIGHT = 64, 36
NUM_KEYFRAMES = 3
FRAMES_A_SHOT = (24, 120)
SHOTS_A_SCENE = (3, 7)

Pixels = npt.NDArray[np.uint8]


def write_movienet(folder: Path, films: Mapping[str, int] = FILMS, seed: int = 0, coded: bool = False) -> Path:
    """Write key-frames, annotations, shot files and labels of some films below `folder`, and return it.

    films: shots of each film, by name. The first film is the train split, the second val, the third test, and
    so on in turns; with fewer than three the last stands in for the splits that are left. Labelled rows leave
    each film's last shot out, those for pre-training hold every shot and no labels, and `num_shot` is the
    index of the last shot, all as published. coded: plain key-frames whose colour tells which they are
    (`decoded`), for up to four films of up to 42 shots; otherwise a scene's shots look alike.
    """
    names = list(films)
    splits = {split: names[turn::3] or names[-1:] for turn, split in enumerate(("train", "val", "test"))}
    rows = {}
    for film, (name, num_shots) in enumerate(films.items()):
        rng = np.random.default_rng((seed, film))
        scenes = draw_scenes(num_shots, rng)
        rows[name] = labelled_rows(film, name, scenes, rng)
        write_keyframes(folder / "240P_frames" / name, film, scenes, rng, coded)
        write_shot_file(folder / "scene318" / "shot_movie318" / f"{name}.txt", num_shots, rng)
        labels = "".join(f"{row['shot_id']} {row['boundary_label']}\n" for row in rows[name])
        _write(folder / "scene318" / "label318" / f"{name}.txt", labels)
    for split, chosen in {**splits, "trainvaltest": names}.items():
        write_ndjson(folder / "anno" / f"anno.{split}.ndjson", [row for name in chosen for row in rows[name]])
    unlabelled = [unlabelled_row(name, shot, count) for name, count in films.items() for shot in range(count)]
    write_ndjson(folder / "anno" / "anno.pretrain.ndjson", unlabelled)
    _write(folder / "anno" / "vid2idx.json", json.dumps({name: film for film, name in enumerate(names)}))
    _write(folder / "scene318" / "meta" / "split318.json", json.dumps({**splits, "full": names}))
    return folder


def write_ndjson(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write an annotation file, as the `ndjson` package does, and return its path."""
    lines = list(rows)
    return _write(path, ndjson.dumps(lines) + "\n" * bool(lines))


def draw_scenes(num_shots: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Scene of each shot, (num_shots,)."""
    lengths = rng.integers(*SHOTS_A_SCENE, size=num_shots, endpoint=True)
    return np.repeat(np.arange(num_shots), lengths)[:num_shots]


def unlabelled_row(name: str, shot: int, num_shots: int) -> dict[str, Any]:
    """A row of anno.pretrain.ndjson."""
    return {"video_id": name, "shot_id": f"{shot:04d}", "num_shot": num_shots - 1, "boundary_label": -1}


def labelled_rows(
    film: int, name: str, scenes: npt.NDArray[np.int64], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Rows of every shot but the last, a few of the boundaries uncertain."""
    ends = np.flatnonzero(np.diff(scenes))
    uncertain = rng.choice(ends, size=len(ends) // 4, replace=False)
    return [
        {
            **unlabelled_row(name, shot, len(scenes)),
            "boundary_label": -1 if shot in uncertain else int(shot in ends),
            "global_video_id": film,
            "invideo_scene_id": int(scenes[shot]),
            "global_scene_id": 1000 * film + int(scenes[shot]),
        }
        for shot in range(len(scenes) - 1)
    ]


def write_shot_file(path: Path, num_shots: int, rng: np.random.Generator) -> None:
    """A line a shot: first frame, last frame, three key-frame numbers."""
    ends = np.cumsum(rng.integers(*FRAMES_A_SHOT, size=num_shots))
    starts = np.concatenate([[0], ends[:-1]])
    lines = []
    for start, end in zip(starts.tolist(), (ends - 1).tolist(), strict=True):
        keyframes = [start + k * ((end - start) // 4) for k in (1, 2, 3)]
        lines.append(" ".join(map(str, [start, end, *keyframes])))
    _write(path, "\n".join(lines) + "\n")


def write_keyframes(
    folder: Path, film: int, scenes: npt.NDArray[np.int64], rng: np.random.Generator, coded: bool
) -> None:
    """Three JPEG files a shot."""
    folder.mkdir(parents=True)
    looks = rng.integers(40, 200, size=(scenes.max() + 1, 2, 3))
    slope = np.linspace(0, 1, WIDTH)[:, None]
    for shot, scene in enumerate(scenes.tolist()):
        left, right = looks[scene] + rng.integers(-12, 13, size=(2, 3))
        backdrop = np.tile(left + (right - left) * slope, (HEIGHT, 1, 1))
        for keyframe in range(NUM_KEYFRAMES):
            picture = np.clip(backdrop + rng.integers(-25, 26, size=(HEIGHT, WIDTH, 1)), 0, 255)
            pixels = code(film, shot, keyframe) if coded else picture.astype(np.uint8)
            path = folder / f"shot_{shot:04d}_img_{keyframe}.jpg"
            Image.fromarray(pixels).save(path, quality=98, subsampling=0)


def code(film: int, shot: int, keyframe: int) -> Pixels:
    """A plain picture whose colour tells the key-frame."""
    assert max(film - 3, shot - 42, keyframe - 2) <= 0, (film, shot, keyframe)
    return np.broadcast_to(np.array([6 * shot, 100 * keyframe, 80 * film], np.uint8), (HEIGHT, WIDTH, 3)).copy()


def decoded(image: Any) -> tuple[int, int, int]:
    """(film, shot, keyframe) of a coded picture, (3, H, W), also when it was cropped and resized."""
    red, green, blue = np.asarray(image, dtype=np.float64).reshape(3, -1).mean(axis=1)
    return round(blue / 80), round(red / 6), round(green / 100)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
