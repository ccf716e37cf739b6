"""Image files to arrays: decoding, grey or colour, one size for all. Pillow is loaded only when called."""

from __future__ import annotations

import io
import warnings
from collections import Counter

import numpy as np

from tfsparse.errors import UserError
from tfsparse_datasets.tree import Tree

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
# Beyond this a training process would not fit a common machine, and no microcontroller holds such an image anyway.
MAX_BYTES = 4 << 30
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")


def read_images(
    tree: Tree, names: list[str], *, size: tuple[int, int] | None = None, grey: bool | None = None
) -> np.ndarray:
    """Decode the images `names` of a tree to uint8 [N, H, W, C].

    size: (height, width); None takes the size that most images have. Others are stretched to it (area average when
    they shrink, bilinear when they grow).
    grey: True forces one channel, False three; None keeps grey where all files are grey, else makes all RGB.
    Transparent pixels become white, 16-bit grey keeps its upper 8 bits, and photographs are turned upright as their
    EXIF says. Raises UserError naming the file that cannot be read, or if the whole would not fit into memory.
    """
    # No threads: on images this small Python's lock makes them slower than one.
    if size is None or grey is None:
        kinds = [_kind(tree, name) for name in names]
        size = size or Counter(shape for shape, _ in kinds).most_common(1)[0][0]
        grey = all(is_grey for _, is_grey in kinds) if grey is None else grey
    channels = 1 if grey else 3
    _check_memory(len(names), size, channels)
    images = np.empty((len(names), *size, channels), dtype=np.uint8)
    for index, name in enumerate(names):
        images[index] = _decode(tree, name, size, grey)
    return images


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch uint8 [N, H, W, C] to uint8 [N, height, width, C]; UserError where they would not fit into memory."""
    from PIL import Image

    if images.shape[1:3] == size:
        return images
    _check_memory(len(images), size, images.shape[3])
    flat = images[..., 0] if images.shape[3] == 1 else images
    resized = [np.asarray(_stretch(Image.fromarray(image), size)) for image in flat]
    return np.stack(resized).reshape(len(images), *size, images.shape[3])


def _check_memory(count: int, size: tuple[int, int], channels: int) -> None:
    total = count * size[0] * size[1] * channels
    if total > MAX_BYTES:
        raise UserError(
            f"{count} images of {size[0]}x{size[1]}x{channels} need {total / 2**30:.0f} GiB of memory: "
            "give a smaller size, such as 32x32"
        )


def _stretch(image, size: tuple[int, int]):
    from PIL import Image

    height, width = size
    if image.size == (width, height):
        return image
    shrinks = width <= image.width and height <= image.height
    return image.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


def _open(tree: Tree, name: str):
    """Open one image, upright. Decoding is put off till its pixels are asked for."""
    from PIL import Image, ImageOps

    return ImageOps.exif_transpose(Image.open(io.BytesIO(tree.read(name))))


def _guard(tree: Tree, name: str, error: Exception) -> UserError:
    return UserError(f"cannot read the image {tree.where(name)} ({error or type(error).__name__}): mend or remove it")


def _kind(tree: Tree, name: str) -> tuple[tuple[int, int], bool]:
    """((height, width), whether the file is grey) of one image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _open(tree, name)
        return (image.height, image.width), _is_grey(image)
    except Exception as error:
        # Pillow's plugins raise nearly anything on a damaged file: OSError, SyntaxError, ValueError, struct.error.
        raise _guard(tree, name, error) from error


def _is_grey(image) -> bool:
    if image.mode == "P":
        return all(red == green == blue for _, (red, green, blue) in image.convert("RGB").getcolors(256))
    return image.mode in _GREY_MODES


def _decode(tree: Tree, name: str, size: tuple[int, int], grey: bool) -> np.ndarray:
    """One image as uint8 [H, W, C]."""
    from PIL import Image

    try:
        image = _open(tree, name)
        if image.mode in ("I", "I;16", "I;16B"):
            image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = _stretch(image.convert("L" if grey else "RGB"), size)
        return np.asarray(image).reshape(*size, 1 if grey else 3)
    except Exception as error:
        raise _guard(tree, name, error) from error
