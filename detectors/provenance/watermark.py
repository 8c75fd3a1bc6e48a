"""Stable Diffusion's invisible watermark: bits in the blue-difference plane, written and read.

The scheme is `dwtDct` of the `invisible-watermark` project, which the reference code of Stable Diffusion, SDXL and FLUX
calls. Of the U plane, the low-pass band of one Haar step is cut into blocks of 4 × 4; in each, the largest value but the
first is moved to a quarter or to three quarters of a step of 36, for a bit of 0 or of 1. The message repeats over the
blocks, row by row, so a bit is the majority of its blocks.

It survives lossless formats and JPEG that keeps colour at full resolution; scaling, cropping and the usual JPEG with
halved colour erase it (measured in the tests).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.image import Pixels

STEP = 36
BLOCK = 4
LEAST_SIDE = 256
READ_PIXELS = 1_000_000
"""Rows are read from the top up to about this many pixels: enough blocks for every message."""


def bits_of(number: int) -> tuple[int, ...]:
    """The binary digits of a number as the reference code takes them: without leading zeros."""
    return tuple(int(digit) for digit in f"{number:b}")


def bytes_bits(text: bytes) -> tuple[int, ...]:
    return tuple(int(bit) for byte in text for bit in f"{byte:08b}")


@dataclass(frozen=True)
class Message:
    """A known watermark. `least`: matching bits from which it is reported.

    Were bits fair, `least` or more of them would match by chance less than once in 4e9 pictures. On 810 real photographs and drawings at most 32, 31, 82 and 23 bits matched, in the order below.
    """

    scheme: str
    bits: tuple[int, ...]
    least: int


MESSAGES = (
    Message("stable-diffusion-xl", bits_of(0b101100111110110010010000011110111011000110011110), 45),
    Message("flux", bits_of(0b001010101111111010000111100111001111010100101110), 43),
    Message("stable-diffusion-1", bytes_bits(b"StableDiffusionV1"), 118),
    Message("stable-diffusion-2", bytes_bits(b"SDV2"), 32),
)


def block_bits(pixels: Pixels) -> NDArray[np.bool_]:
    """The bit that each block stands for, row by row: shape (blocks,)."""
    height, width = pixels.shape[0] // 4 * 4, pixels.shape[1] // 4 * 4
    rows = min(height, max(LEAST_SIDE, READ_PIXELS // max(width, 1) // 8 * 8))
    low = _low_band(_blue_difference(pixels[:rows, :width]))
    blocks = _blocks(low)
    return (np.abs(_largest(blocks)[1]) % STEP) > STEP / 2


def decode(pixels: Pixels, length: int, bits: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """The repeating message of `length` bits that a picture carries, or noise: the majority of each bit's blocks."""
    bits = block_bits(pixels) if bits is None else bits
    position = np.arange(len(bits)) % length
    ones = np.bincount(position, weights=bits, minlength=length)
    return ones / np.maximum(np.bincount(position, minlength=length), 1) > 0.5


def find(pixels: Pixels) -> tuple[Message, int] | None:
    """The known message that a picture carries and how many of its bits match, or None."""
    if min(pixels.shape[:2]) < LEAST_SIDE:
        return None
    bits = block_bits(pixels)
    for message in MESSAGES:
        matched = int((decode(pixels, len(message.bits), bits) == np.array(message.bits, dtype=bool)).sum())
        if matched >= message.least:
            return message, matched
    return None


def embed(pixels: Pixels, bits: tuple[int, ...]) -> Pixels:
    """A copy of an RGB picture that carries the bits; at least 256 px a side. Raises ValueError below that."""
    if min(pixels.shape[:2]) < LEAST_SIDE:
        raise ValueError(f"A watermark needs {LEAST_SIDE} px a side; the picture has {min(pixels.shape[:2])}.")
    height, width = pixels.shape[0] // 4 * 4, pixels.shape[1] // 4 * 4
    yuv = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV)
    plane = yuv[:height, :width, 1].astype(np.float32)
    low = _low_band(plane)
    blocks = _blocks(low)
    place, value = _largest(blocks)
    wanted = np.resize(np.array(bits, dtype=np.float32), len(blocks))
    sign = np.where(value >= 0, 1.0, -1.0)
    moved = sign * (np.abs(value) // STEP + 0.25 + 0.5 * wanted) * STEP
    change = np.zeros_like(blocks)
    change[np.arange(len(blocks)), place] = moved - value
    rows, columns = low.shape[0] // BLOCK, low.shape[1] // BLOCK
    spread = change.reshape(rows, columns, BLOCK, BLOCK).swapaxes(1, 2).reshape(rows * BLOCK, columns * BLOCK)
    # Undoing a Haar step spreads a change of the low band evenly over its four pixels.
    plane[: rows * 8, : columns * 8] += np.repeat(np.repeat(spread, 2, axis=0), 2, axis=1) / 2
    yuv[:height, :width, 1] = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB), dtype=np.uint8)


def _blue_difference(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2YUV)[:, :, 1], dtype=np.float32)


def _low_band(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The low-pass band of one Haar step: half the sum of each 2 × 2 pixels."""
    return np.asarray((plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 2, np.float32)


def _blocks(low: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blocks of 4 × 4, row by row: shape (blocks, 16)."""
    rows, columns = low.shape[0] // BLOCK, low.shape[1] // BLOCK
    cut = low[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return np.ascontiguousarray(cut.swapaxes(1, 2)).reshape(-1, BLOCK * BLOCK)


def _largest(blocks: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Place and value of the largest value of each block, the first place left out."""
    place = np.abs(blocks[:, 1:]).argmax(axis=1) + 1
    return place, blocks[np.arange(len(blocks)), place]
