"""What the header of an image file promises, and the three bounds that keep a lie, or a bomb, from being decoded."""

from __future__ import annotations

from dataclasses import dataclass

from cornernet.engine.errors import ImageError

MAX_PIXELS = 2**26
"""67 million pixels: 200 MB decoded. Larger pictures are refused before they are decoded."""

MOST_PIXELS = 2**40
"""`max_pixels` itself may not be larger: no machine holds such a picture."""

_HELD_BYTES, _HELD_PER_FILE_BYTE = 2**29, 16
_WORK_BYTES, _WORK_PER_FILE_BYTE = 2**28, 64


@dataclass(frozen=True)
class Header:
    """The size as stored, before EXIF rotation, and what decoding costs beyond the picture itself."""

    height: int
    width: int
    held: int = 0
    """Bytes that the decoder keeps beside the decoded picture."""
    work: int = 0
    """Bytes that the decoder writes or passes over, in the time one byte of a plain picture takes."""
    refused: str = ""
    """Why it must not be decoded, whatever its size."""

    def check(self, file_bytes: int, origin: str, max_pixels: int) -> None:
        """Raise ImageError if the picture is refused, empty, too large, or far too large for its file.

        Memory and time must be bounded by what a file really holds. Beyond `max_pixels` two bounds hold, both with a
        floor that a blank 20-megapixel scan of any format passes, and growing with the file so that real content always
        passes; they grow with `max_pixels` too, where it is above its default:
            memory: 3 bytes a pixel + `held` <= 512 MiB + 16 times the file;
            time: `work` <= 256 MiB + 64 times the file. That is a blank RGBA picture of 67 million pixels.
        """
        height, width, pixels = self.height, self.width, self.height * self.width
        if self.refused:
            raise ImageError(f"{origin}: {self.refused}")
        if height < 1 or width < 1:
            raise ImageError(f"{origin}: {width}x{height} pixels; nothing to look at")
        if pixels > max_pixels:
            raise ImageError(
                f"{origin}: {width}x{height} is {pixels} pixels, more than max_pixels={max_pixels}. "
                "Scale it down, or raise max_pixels if memory allows."
            )
        scale = max(1.0, max_pixels / MAX_PIXELS)
        memory, memory_limit = 3 * pixels + self.held, int(scale * _HELD_BYTES) + _HELD_PER_FILE_BYTE * file_bytes
        work_limit = int(scale * _WORK_BYTES) + _WORK_PER_FILE_BYTE * file_bytes
        for what, needed, limit in (("memory", memory, memory_limit), ("work", self.work, work_limit)):
            if needed > limit:
                raise ImageError(
                    f"{origin}: a file of {file_bytes} bytes that takes {needed} bytes of {what} to decode, more than "
                    f"{limit}: a decompression bomb? Save it again in another form, or raise max_pixels."
                )


def check_size(height: int, width: int, origin: str, max_pixels: int) -> None:
    """Raise ImageError if a picture is empty or larger than `max_pixels`."""
    Header(height, width).check(0, origin, max(max_pixels, 0))
