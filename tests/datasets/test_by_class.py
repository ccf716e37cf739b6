import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tfsparse.errors import UserError
from tfsparse_datasets import load


def picture(shade: int, size=(6, 9), mode="L") -> Image.Image:
    """One colour all over; `size` is (height, width)."""
    return Image.new(mode, (size[1], size[0]), shade if mode == "L" else (shade, 0, 255 - shade))


def fill(folder, classes: dict[str, int], suffix="png", **kind):
    """Write `classes[name]` pictures into each class's folder; the class's place is in the shade's tens."""
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(10 * number + index % 10, **kind).save(folder / name / f"{index:03}.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG"])
def test_classes_become_labels_and_pixels_stay(tmp_path, suffix):
    fill(tmp_path / "pets", {"cat": 20, "dog": 10, "eel": 30}, suffix)
    data = load(tmp_path / "pets")
    assert data.name == "pets" and data.class_names == ("cat", "dog", "eel") and data.shape == (6, 9, 1)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 8, 12)
    assert np.bincount(data.test.labels).tolist() == [4, 2, 6]
    assert "fixed stratified fifth" in data.note
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.images[:, 0, 0, 0] // 10, part.labels)
    again = load(str(tmp_path / "pets"), seed=7)
    assert np.array_equal(again.test.images, data.test.images)


def test_train_and_test_folders_are_kept_apart(tmp_path):
    fill(tmp_path / "train", {"a": 12, "b": 12}, "jpg", mode="RGB")
    fill(tmp_path / "test", {"a": 3, "b": 2}, "jpg", mode="RGB")
    data = load(tmp_path)
    assert data.shape == (6, 9, 3) and data.note == ""
    assert (len(data.train), len(data.validation)) == (20, 4)
    assert np.bincount(data.test.labels).tolist() == [3, 2]


def test_a_validation_folder_is_used(tmp_path):
    for part, count in (("train", 6), ("val", 3), ("test", 2)):
        fill(tmp_path / part, {"a": count, "b": count})
    data = load(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 4)


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, {"car": 10, "train": 10})
    assert load(tmp_path).class_names == ("car", "train")


def test_numbers_are_ordered_as_numbers(tmp_path):
    fill(tmp_path, {str(number): 5 for number in range(12)})
    assert load(tmp_path).class_names == tuple(map(str, range(12)))


def test_the_most_common_size_wins_or_the_one_asked_for(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    picture(3, (40, 40)).save(tmp_path / "a" / "large.png")
    assert load(tmp_path).shape == (6, 9, 1)
    assert load(tmp_path, size=(8, 4)).shape == (8, 4, 1)


def test_one_image_in_colour_makes_all_rgb(tmp_path):
    fill(tmp_path, {"a": 6, "b": 6})
    picture(30, mode="RGB").save(tmp_path / "b" / "colour.png")
    data = load(tmp_path)
    assert data.shape == (6, 9, 3)
    pixels = np.concatenate([data.train.images, data.validation.images, data.test.images])[:, 0, 0]
    assert [30, 0, 225] in pixels.tolist()
    assert ((pixels[:, 0] == pixels[:, 1]) & (pixels[:, 1] == pixels[:, 2])).sum() == 12


def test_deep_grey_palettes_and_transparency(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), 0x7FFF, np.uint16)).save(tmp_path / name / "deep.png")
        picture(9, (4, 4)).convert("P").save(tmp_path / name / "palette.png")
        Image.new("LA", (4, 4), (50, 0)).save(tmp_path / name / "clear.png")
        Image.new("1", (4, 4), 1).save(tmp_path / name / "bit.png")
        picture(0, (4, 4)).save(tmp_path / name / "black.png")
    data = load(tmp_path)
    assert data.shape == (4, 4, 1)
    pixels = np.concatenate([data.train.images, data.validation.images, data.test.images])[:, 0, 0, 0]
    assert sorted(pixels) == [0, 0, 9, 9, 127, 127, 255, 255, 255, 255]


def test_an_archive_of_such_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name in ("cat", "dog"):
            for index in range(6):
                file = io.BytesIO()
                picture(index).save(file, "png")
                archive.writestr(f"pets/{name}/{index}.png", file.getvalue())
        archive.writestr("__MACOSX/pets/cat/._0.png", b"litter")
    assert load(tmp_path / "pets.zip").class_names == ("cat", "dog")


def test_rules_work_on_folders_too(tmp_path):
    fill(tmp_path / "pets", {"a": 6, "b": 6, "c": 6})
    data = load(f"{tmp_path / 'pets'}:lt-half")
    # Labels 0 and 1 lie below 3 / 2.
    assert data.title == "pets:lt-half" and np.bincount(data.test.labels).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, r"holds no images by class: it should hold CLASS/\*.png"),
        ({"a": 9}, r"holds one class only \(a\)"),
        ({"a": 9, "b": 1}, "the class b in .* has 1 training image, at least 5 are needed"),
        ({"a": 9, "b": 4}, "the class b in .* has 4 training images, at least 5"),
    ],
)
def test_too_little_is_said_in_one_sentence(tmp_path, classes, message):
    fill(tmp_path, classes)
    (tmp_path / "notes.txt").write_text("no image")
    picture(1).save(tmp_path / "in no class.png")
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_a_corrupt_image_is_named(tmp_path):
    fill(tmp_path, {"a": 9, "b": 9})
    for content in (b"", b"not an image", (tmp_path / "a" / "000.png").read_bytes()[:45]):
        (tmp_path / "b" / "004.png").write_bytes(content)
        for size in (None, (4, 4)):
            with pytest.raises(UserError, match=r"cannot read the image .*/b/004\.png \(.*\): mend or remove it"):
                load(tmp_path, size=size)


def test_parts_that_do_not_fit(tmp_path):
    fill(tmp_path / "train", {"a": 9, "b": 9})
    fill(tmp_path / "test", {"c": 1})
    with pytest.raises(UserError, match=r"test/c/000.png in .* no training images"):
        load(tmp_path)
    fill(tmp_path, {"stray": 1})
    with pytest.raises(UserError, match="mixes train/CLASS folders with other images"):
        load(tmp_path)


def test_images_that_no_memory_would_hold(tmp_path, monkeypatch):
    fill(tmp_path, {"a": 9, "b": 9})
    monkeypatch.setattr("tfsparse_datasets.images.MAX_BYTES", 18 * 6 * 9 - 1)
    with pytest.raises(UserError, match=r"18 images of 6x9x1 need .* give a smaller size"):
        load(tmp_path)


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(UserError, match=r"model.tflite is not a whole zip or tar archive"):
        load(tmp_path / "model.tflite")


def test_a_size_that_no_memory_would_hold_of_a_named_set():
    with pytest.raises(UserError, match="GiB of memory: give a smaller size"):
        load("digits", size=(60_000, 60_000))


def test_nothing_is_no_data_set():
    with pytest.raises(UserError, match="no data set is named: choose one of"):
        load("")
