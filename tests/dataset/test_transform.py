from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from bassl.dataset import transform
from bassl.errors import InputError
from tests.reference import golden


def smooth_image(height: int = 60, width: int = 90, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def pixels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def write(folder: Path, image: Image.Image, name: str = "shot_0000_img_0.jpg", **options: object) -> Path:
    image.save(folder / name, **options)  # type: ignore[arg-type]
    return folder / name


def test_the_test_transform_is_the_references() -> None:
    image = torch.from_numpy(golden()["transform/test_input"]).permute(2, 0, 1)
    expected = torch.from_numpy(golden()["transform/test_output"]).float()
    ours = transform.normalize(transform.resize_and_crop(image[None]))
    assert (ours.shape, ours.dtype) == ((1, 3, 224, 224), torch.float32)
    difference = (ours[0] - expected) * torch.tensor(transform.IMAGENET_STD).view(3, 1, 1) * 255
    assert difference.abs().max() <= 2
    assert difference.abs().mean() < 0.1


@pytest.mark.parametrize(("height", "width"), [(240, 426), (426, 240), (256, 256), (300, 301), (31, 50)])
def test_a_batch_equals_torchvisions_resize_and_centre_crop(height: int, width: int) -> None:
    images = torch.stack([pixels_of(smooth_image(height, width, seed)) for seed in range(3)])
    for image, ours in zip(images, transform.resize_and_crop(images, 64, 56), strict=True):
        resized = torchvision.resize(image, [64], InterpolationMode.BICUBIC, antialias=True)
        assert torch.equal(ours, torchvision.center_crop(resized, [56, 56]))


def test_normalize_by_hand_and_as_torchvision() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    expected = torch.tensor([-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(transform.normalize(images), expected.view(1, 3, 1, 1).expand(2, 3, 4, 5))
    images = pixels_of(smooth_image())[None]
    scaled = torchvision.to_dtype(images, torch.float32, scale=True)
    ours = transform.normalize(images, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    theirs = torchvision.normalize(scaled, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("has_decoder", [True, False])
@pytest.mark.parametrize(("mode", "options"), [("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {})])
def test_a_jpeg_of_any_colours_is_decoded_to_rgb_as_by_pillow(
    tmp_path: Path, mode: str, options: dict[str, object], has_decoder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_decoder:
        monkeypatch.setattr(transform, "decode_image", None)
    path = write(tmp_path, smooth_image().convert(mode), **options)
    decoded = transform.decode_keyframe(path)
    assert (decoded.shape, decoded.dtype, decoded.stride()) == ((3, 60, 90), torch.uint8, (1, 270, 3))
    with Image.open(path) as stored:
        assert (decoded.int() - pixels_of(stored).int()).abs().max() <= 1


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_a_truncated_or_missing_key_frame_is_named(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path, smooth_image())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"shot_0000_img_0.jpg cannot be decoded"):
        transform.decode_keyframe(path)
    path.unlink()
    with pytest.raises(InputError, match=r"shot_0000_img_0.jpg does not exist"):
        transform.decode_keyframe(path)


def test_a_key_frame_with_two_pictures_or_16_bits_is_refused(tmp_path: Path) -> None:
    second = [smooth_image(seed=1)]
    moving = write(tmp_path, smooth_image(), "a.gif", save_all=True, append_images=second, duration=40)
    deep = write(tmp_path, Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)), "b.png")
    for path in (moving, deep):
        with pytest.raises(InputError, match="is not one image of 8 bits per channel"):
            transform.decode_keyframe(path)
