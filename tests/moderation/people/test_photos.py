"""Which photos are enrolled, and what is said of the others."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFilter

from moderation.errors import InvalidRequestError
from moderation.people.enrolment import Quality, judge
from moderation.people.photos import PhotoDesk
from moderation.people.records import Photo
from tests.factories import encode, picture
from tests.moderation.people.conftest import photo

NOTHING = np.zeros((0, 128), np.float32)
GOOD = {"pixels": 120, "sharpness": 200.0, "turn": 0.1, "light": 130.0}


def refusal(desk: PhotoDesk, bad: Photo) -> str:
    with pytest.raises(InvalidRequestError, match="None of the photos") as refused:
        desk.assess([bad], NOTHING)
    assert refused.value.error_code == "photos_refused"
    return refused.value.message


def test_a_photo_without_a_face_is_refused(desk: PhotoDesk) -> None:
    assert "holiday.png: No face is found" in refusal(desk, Photo(encode(picture()), "holiday.png"))


def test_bytes_that_are_no_image_are_refused(desk: PhotoDesk) -> None:
    assert "photo 1: " in refusal(desk, Photo(b"not an image"))


def test_an_animation_is_refused(desk: PhotoDesk) -> None:
    frames = [Pillow.fromarray(picture(seed=i)) for i in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])

    assert "2 frames" in refusal(desk, Photo(buffer.getvalue()))


def test_two_faces_of_similar_size_are_refused(desk: PhotoDesk, crops) -> None:
    assert "shows 2 faces" in refusal(desk, photo(crops[0][0], crops[1][0]))


def test_a_small_face_in_the_background_is_passed_over(desk: PhotoDesk, crops) -> None:
    canvas = np.asarray(Pillow.open(io.BytesIO(photo(crops[0][0], crops[1][0], side=250).data))).copy()
    canvas[:, 330:] = 120
    canvas[10:90, 400:480] = np.asarray(Pillow.fromarray(crops[1][0]).resize((80, 80)))

    assessed = desk.assess([Photo(encode(canvas))], NOTHING)

    assert [report.refusal for report in assessed.reports] == [None]


def test_a_blurred_photo_is_refused(desk: PhotoDesk, crops) -> None:
    blurred = Pillow.fromarray(crops[0][0]).resize((200, 200)).filter(ImageFilter.GaussianBlur(8))

    assert "blurred" in refusal(desk, photo(np.asarray(blurred)))


def test_a_small_face_is_refused(desk: PhotoDesk, crops) -> None:
    assert "60 are needed" in refusal(desk, photo(crops[0][0], side=50))


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"pixels": 59}, "too_small"),
        ({"turn": 0.6}, "turned_away"),
        ({"light": 20.0}, "too_dark"),
        ({"light": 240.0}, "too_bright"),
        ({"sharpness": 10.0}, "blurred"),
    ],
)
def test_each_measure_has_its_limit(changed: dict[str, float], code: str | None) -> None:
    found = judge(Quality(**{**GOOD, **changed}))

    assert (found.code if found else None) == code


def test_somebody_elses_photo_is_refused_and_the_rest_is_enrolled(desk: PhotoDesk, crops) -> None:
    photos = [photo(face) for face in crops[0][:4]]
    photos.insert(2, photo(crops[1][0], name="stray.png"))

    assessed = desk.assess(photos, NOTHING)

    assert [r.refusal.code if r.refusal else None for r in assessed.reports] == [None, None, "another_face", None, None]
    assert assessed.templates.shape == (4, 128)
    assert len(assessed.qualities) == 4


def test_two_photos_of_two_people_are_both_refused(desk: PhotoDesk, crops) -> None:
    with pytest.raises(InvalidRequestError, match="None of the photos"):
        desk.assess([photo(crops[0][0]), photo(crops[1][0])], NOTHING)


def test_twenty_one_photos_are_refused_before_they_are_opened(desk: PhotoDesk) -> None:
    with pytest.raises(InvalidRequestError, match="21 photos"):
        desk.assess([Photo(b"")] * 21, NOTHING)


def test_photos_on_top_of_twenty_are_refused(desk: PhotoDesk) -> None:
    with pytest.raises(InvalidRequestError, match="22 photos"):
        desk.assess([Photo(b"")] * 2, np.zeros((20, 128), np.float32))
