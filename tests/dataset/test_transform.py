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


def test_test_transform_is_the_references() -> None:
    image = torch.from_numpy(golden()["transform/test_input"]).permute(2, 0, 1)
    expected = torch.from_numpy(golden()["transform/test_output"]).float()
    ours = transform.normalize(transform.resize_and_crop(image[None]))
    assert ours.shape == (1, 3, 224, 224)
    assert ours.dtype == torch.float32
    difference = (ours[0] - expected) * torch.tensor(transform.IMAGENET_STD).view(3, 1, 1) * 255
    assert difference.abs().max() <= 2
    assert difference.abs().mean() < 0.1


@pytest.mark.parametrize("height, width", [(240, 426), (426, 240), (256, 256), (300, 301), (31, 50)])
def test_batch_equals_torchvisions_resize_and_centre_crop(height: int, width: int) -> None:
    images = torch.stack([pixels_of(smooth_image(height, width, seed)) for seed in range(3)])
    for image, ours in zip(images, transform.resize_and_crop(images, 64, 56), strict=True):
        resized = torchvision.resize(image, [64], InterpolationMode.BICUBIC, antialias=True)
        assert torch.equal(ours, torchvision.center_crop(resized, [56, 56]))


def test_crop_larger_than_the_resized_image_is_refused() -> None:
    with pytest.raises(InputError, match="a crop of 300 pixels does not fit into a short side of 256"):
        transform.resize_and_crop(torch.zeros(1, 3, 30, 30, dtype=torch.uint8), crop=300)


def test_normalize_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    normalized = transform.normalize(images)
    expected = torch.tensor([-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(normalized, expected.view(1, 3, 1, 1).expand(2, 3, 4, 5))
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_normalize_equals_torchvisions() -> None:
    images = torch.stack([pixels_of(smooth_image(seed=seed)) for seed in range(3)])
    scaled = torchvision.to_dtype(images, torch.float32, scale=True)
    expected = torchvision.normalize(scaled, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    ours = transform.normalize(images, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode, options", [("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {})])
def test_jpeg_of_any_colours_is_decoded_to_rgb_as_by_pillow(
    tmp_path: Path, mode: str, options: dict[str, object]
) -> None:
    path = write(tmp_path, smooth_image().convert(mode), **options)
    decoded = transform.decode_keyframe(path)
    assert decoded.shape == (3, 60, 90)
    assert decoded.dtype == torch.uint8
    assert decoded.stride() == (1, 270, 3)
    with Image.open(path) as stored:
        assert (decoded.int() - pixels_of(stored).int()).abs().max() <= 1


def test_without_torchvisions_decoder_pillow_gives_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path, smooth_image().convert(mode), f"{mode}.jpg") for mode in ("RGB", "L", "CMYK")]
    fast = [transform.decode_keyframe(path) for path in paths]
    monkeypatch.setattr(transform, "decode_image", None)
    for path, image in zip(paths, fast, strict=True):
        slow = transform.decode_keyframe(path)
        assert slow.stride() == image.stride()
        assert (slow.int() - image.int()).abs().max() <= 1


def test_png_under_the_name_of_a_jpeg_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path, smooth_image(), format="PNG")
    assert torch.equal(transform.decode_keyframe(str(path)), pixels_of(smooth_image()))


@pytest.mark.parametrize("content", [b"", b"x", b"not an image at all", b"\xff\xd8\xff\xe0" + bytes(50)])
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shot_0003_img_1.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"shot_0003_img_1.jpg cannot be decoded"):
        transform.decode_keyframe(path)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.95])
def test_truncated_jpeg_is_named(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path, smooth_image())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"shot_0000_img_0.jpg cannot be decoded"):
        transform.decode_keyframe(path)


def test_missing_keyframe_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shot_0009_img_2.jpg does not exist"):
        transform.decode_keyframe(tmp_path / "shot_0009_img_2.jpg")


def test_keyframe_with_two_pictures_or_16_bits_is_refused(tmp_path: Path) -> None:
    second = [smooth_image(seed=1)]
    moving = write(tmp_path, smooth_image(), "a.gif", save_all=True, append_images=second, duration=40)
    deep = write(tmp_path, Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)), "b.png")
    for path in (moving, deep):
        with pytest.raises(InputError, match="is not one image of 8 bits a channel"):
            transform.decode_keyframe(path)


def test_keyframes_are_stacked_with_channels_last(tmp_path: Path) -> None:
    paths = [write(tmp_path, smooth_image(seed=k), f"shot_0000_img_{k}.jpg") for k in range(3)]
    stacked = transform.stacked([transform.decode_keyframe(path) for path in paths])
    assert stacked.shape == (3, 3, 60, 90)
    assert stacked.is_contiguous(memory_format=torch.channels_last)
    for path, image in zip(paths, stacked, strict=True):
        assert torch.equal(image, transform.decode_keyframe(path))


def test_keyframes_of_other_sizes_are_resized_to_the_firsts(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, smooth_image(60, 90), "a.jpg"),
        write(tmp_path, smooth_image(30, 45), "b.jpg"),
        write(tmp_path, smooth_image(60, 90), "c.jpg"),
    ]
    images = transform.same_size([transform.decode_keyframe(path) for path in paths])
    assert [tuple(image.shape) for image in images] == [(3, 60, 90)] * 3
    enlarged = pixels_of(Image.open(paths[1]).resize((90, 60), Image.Resampling.BICUBIC))
    assert (images[1].int() - enlarged.int()).abs().max() <= 2
