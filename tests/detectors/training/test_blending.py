"""Blends: the same record makes the same pixels, inside its mask only."""

import json
from dataclasses import replace

import numpy as np
import pytest

from detectors.training.blending import (
    NO_COLOURS,
    TEXTURES,
    Blend,
    blend,
    draw,
    draw_seam,
    draw_texture,
    face_mask,
    in_tones_of,
)
from detectors.training.errors import TrainingError
from detectors.training.swap_data import (
    FaceCrop,
    alike_clones,
    batch,
    check_apart,
    folds,
    launder,
    read_faces,
    without_copies,
)
from tests.detectors.training.factories import crop, people, write_people


@pytest.mark.parametrize("drawn", [draw, draw_seam, draw_texture])
def test_the_same_record_makes_the_same_pixels(drawn) -> None:
    first, second = drawn(np.random.default_rng(3)), drawn(np.random.default_rng(3))
    target, source = crop(1), crop(2)
    before = target.copy()

    one, mask = blend(target, source, first)
    two, again = blend(target, source, second)

    assert first == second
    assert np.array_equal(one, two)
    assert np.array_equal(mask, again)
    assert np.array_equal(target, before), "the target was written over"


def test_a_record_survives_json() -> None:
    values = json.loads(json.dumps(draw(np.random.default_rng(5)).as_dict()))
    tuples = {name: tuple(map(tuple, v)) if name == "points" else v for name, v in values.items()}
    kept = Blend(**{name: tuple(v) if isinstance(v, list) else v for name, v in tuples.items()})

    assert kept == draw(np.random.default_rng(5))


@pytest.mark.parametrize("shape", ["hull", "ellipse", "eyes", "lower"])
def test_masks_are_soft_and_within_bounds(shape) -> None:
    for seed in range(20):
        mask = face_mask(replace(draw(np.random.default_rng(seed)), shape=shape))

        assert mask.shape == (112, 112)
        assert mask.dtype == np.float32
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert 0.01 < mask.mean() < 0.8
        assert ((mask > 0.02) & (mask < 0.98)).any(), "a hard edge"


def test_nothing_changes_outside_the_mask() -> None:
    parameters = draw_seam(np.random.default_rng(1))

    mixed, mask = blend(crop(1), crop(2), parameters)

    assert np.array_equal(mixed[mask == 0], crop(1)[mask == 0])
    assert not np.array_equal(mixed[mask > 0.9], crop(1)[mask > 0.9])


@pytest.mark.parametrize("texture", sorted(set(TEXTURES) - {"none"}))
def test_every_texture_changes_the_crop(texture) -> None:
    parameters = replace(draw_texture(np.random.default_rng(2)), texture=texture, strength=0.8)

    mixed, mask = blend(crop(3), crop(3), parameters)

    assert parameters.colours == NO_COLOURS
    assert not np.array_equal(mixed[mask > 0.5], crop(3)[mask > 0.5])


def test_tones_come_from_the_target_and_detail_from_the_source() -> None:
    dark, light = np.full((112, 112, 3), 40, np.uint8), np.full((112, 112, 3), 200, np.uint8)

    assert np.abs(in_tones_of(dark, light, 8).astype(int) - 200).max() <= 1


@pytest.mark.parametrize("pixels", [np.zeros((64, 64, 3), np.uint8), np.zeros((112, 112, 3), np.float32)])
def test_crops_of_another_shape_are_refused(pixels) -> None:
    with pytest.raises(ValueError, match="112, 112, 3"):
        blend(crop(1), pixels, draw(np.random.default_rng(0)))


@pytest.mark.parametrize("hard", [False, True])
def test_batches_are_pairs_and_deterministic(hard) -> None:
    one, two = (batch(people(), 6, (1, 2), hard=hard) for _ in range(2))

    assert one.crops.shape == (12, 3, 112, 112)
    assert one.crops.min() >= 0
    assert one.crops.max() <= 1
    assert np.array_equal(one.crops, two.crops)
    assert not one.masks[:6].any()
    assert all(mask.any() for mask in one.masks[6:])


def test_the_most_alike_face_of_another_person_is_pasted() -> None:
    """Of two other people one has nearly the same picture, so that its clone changes the crop less."""
    target, near, far = crop(1), np.clip(crop(1).astype(int) + 9, 0, 255).astype(np.uint8), crop(2)
    names = [("a", target), ("b", near), ("c", far)]
    faces = [FaceCrop(pixels, name, name) for name, pixels in names]

    mixed = {face.person: pixels for face, pixels in alike_clones(faces)}

    assert np.abs(mixed["a"].astype(int) - target).mean() < 1.0
    assert np.abs(mixed["c"].astype(int) - far).mean() > 5.0


def test_laundering_keeps_the_shape() -> None:
    assert launder(crop(1), 0.55, 60).shape == (112, 112, 3)
    assert np.array_equal(launder(crop(1), 1.0, 0), crop(1))


def test_people_are_held_out_whole() -> None:
    for kept, held in folds(people(), 2):
        assert not {face.person for face in kept} & {face.person for face in held}
        assert len(kept) + len(held) == len(people())


def test_a_person_on_both_sides_is_refused() -> None:
    with pytest.raises(TrainingError, match="person_0 would be both"):
        check_apart(people(), people()[:1])


def test_a_picture_on_both_sides_is_refused() -> None:
    known = people()[0]

    with pytest.raises(TrainingError, match="one picture on both sides"):
        check_apart(people(), [FaceCrop(known.pixels, "somebody else", "copy")])


def test_copies_are_dropped() -> None:
    known = people()

    assert without_copies([*known, FaceCrop(known[0].pixels, "person_9", "copy")]) == known


@pytest.mark.parametrize("groups", [1, 9])
def test_impossible_groups_are_refused(groups) -> None:
    with pytest.raises(TrainingError, match="cannot be split"):
        folds(people(), groups)


def test_faces_are_read_in_order(tmp_path) -> None:
    write_people(tmp_path, people())

    read = read_faces(tmp_path)

    assert [face.name for face in read] == sorted(face.name for face in read)
    assert np.array_equal(read[0].pixels, people()[0].pixels)


def test_too_few_people_are_refused(tmp_path) -> None:
    write_people(tmp_path, people()[:2])

    with pytest.raises(TrainingError, match="1 people; two are needed"):
        read_faces(tmp_path)


def test_a_crop_of_another_size_is_refused(tmp_path) -> None:
    write_people(tmp_path, [FaceCrop(np.zeros((80, 64, 3), np.uint8), "person_0", "person_0/0.png")])

    with pytest.raises(TrainingError, match="64 × 80"):
        read_faces(tmp_path)


def test_a_broken_file_is_refused(tmp_path) -> None:
    (tmp_path / "person_0").mkdir()
    (tmp_path / "person_0" / "0.png").write_bytes(b"no picture")

    with pytest.raises(TrainingError, match="not a readable picture"):
        read_faces(tmp_path)
