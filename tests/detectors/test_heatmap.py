"""Which parts of a picture speak: the grid, and what the real heads say of each square."""

import numpy as np
import pytest

from detectors.base import Region
from detectors.embedding import EmbeddingDetector
from detectors.heatmap import LEAST_SIDE, MOST, Cell, drawn, heat, squares
from detectors.image import Frame
from detectors.runtime import Runtime
from detectors.synthetic import SyntheticDetector
from tests.factories import picture


@pytest.mark.parametrize("size", [(400, 400), (1920, 1080), (300, 2400), (192, 192), (5000, 200)])
def test_squares_cover_the_picture(size: tuple[int, int]) -> None:
    width, height = size
    found = squares(width, height)

    assert 0 < len(found) <= MOST
    assert min(left for left, _, _ in found) == min(top for _, top, _ in found) == 0
    assert max(left + side for left, _, side in found) == width
    assert max(top + side for _, top, side in found) == height


def test_a_small_picture_has_no_parts() -> None:
    assert squares(2 * LEAST_SIDE - 2, 1000) == []


def test_cells_carry_what_the_heads_say_of_their_square(runtime: Runtime) -> None:
    embedding, synthetic = EmbeddingDetector(runtime), SyntheticDetector(runtime)
    frame = Frame(0, picture(250, 200, seed=2))

    cells = heat(frame, embedding, synthetic)

    assert len(cells) == len(squares(250, 200))
    left, top, side = squares(250, 200)[0]
    crop = Frame(0, np.ascontiguousarray(frame.pixels[top : top + side, left : left + side]))
    assert cells[0].score == pytest.approx(synthetic.score(embedding.embed([crop])[1]))
    assert cells[0].region.as_dict() == {"x": 0.0, "y": 0.0, "width": 0.4, "height": 0.5}
    assert all(0 < cell.fpr <= 1 for cell in cells)


def test_the_drawing_is_red_where_cells_score_high() -> None:
    frame = Frame(0, np.full((200, 400, 3), 128, np.uint8))
    cells = [Cell(Region(0, 0, 0.5, 1), 1.0, 1e-3), Cell(Region(0.5, 0, 0.5, 1), 0.0, 1.0)]

    pixels = np.asarray(drawn(frame, cells, side=100))

    assert pixels.shape == (50, 100, 3)
    assert pixels[25, 10, 0] > pixels[25, 10, 1] + 50
    assert tuple(pixels[25, 90]) == (128, 128, 128)
