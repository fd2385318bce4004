"""Pictures: their shape, their colours, their sizes."""

from __future__ import annotations

import dataclasses

import pytest

from securecall.errors import UsageError
from securecall.media.video.frames import VideoFrame, i420_bytes
from tests.video_quality import ssim

RED = (81, 90, 240)  # Y, U and V of full red, BT.601, limited range


def plain(width, height, colour, **more):
    sizes = ((width, height), ((width + 1) // 2, (height + 1) // 2))
    parts = [bytes([v]) * (w * h) for v, (w, h) in zip(colour, (*sizes, sizes[1]), strict=True)]
    return VideoFrame(width=width, height=height, data=b"".join(parts), **more)


@pytest.mark.parametrize(
    ("width", "height", "size"), [(4, 2, 12), (3, 3, 17), (1, 1, 3), (641, 361, 347603)]
)
def test_planes_of_odd_sides_are_rounded_up(width, height, size):
    assert i420_bytes(width, height) == size
    frame = VideoFrame.black(width, height)
    assert [len(p) for p in frame.planes] == [
        width * height,
        *[((width + 1) // 2) * ((height + 1) // 2)] * 2,
    ]
    assert frame.planes[0][0] == 16 and frame.planes[2][-1] == 128


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (4097, 4), (4, 4097), (-1, 4)])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(UsageError):
        VideoFrame(width=size[0], height=size[1], data=b"")
    with pytest.raises(UsageError):
        VideoFrame.black(*size)
    with pytest.raises(UsageError):
        VideoFrame.black(8, 8).scaled(*size)


@pytest.mark.parametrize("less", [-1, 1])
def test_planes_of_another_length_are_refused(less):
    with pytest.raises(UsageError):
        VideoFrame(width=4, height=2, data=bytes(12 - less))


def test_a_frame_cannot_be_changed_and_does_not_show_its_pixels():
    frame = plain(8, 8, RED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.width = 4
    with pytest.raises(TypeError):
        frame.planes[0][0] = 1
    assert "\\x51" not in repr(frame) and len(repr(frame)) < 80


@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 17), (320, 180)])
def test_into_pyav_and_back_is_the_same(width, height):
    data = bytes(i * 7 % 251 for i in range(i420_bytes(width, height)))
    frame = VideoFrame(width=width, height=height, data=data, timestamp=2.5)
    assert VideoFrame.from_picture(frame.picture(), timestamp=2.5) == frame


@pytest.mark.parametrize(
    ("name", "space", "full", "seen"),
    [
        ("yuv420p", 0, 0, (200, 90, 150)),
        ("yuv420p", 5, 1, (200, 90, 150)),
        ("yuv420p", 5, 2, (188, 95, 148)),  # full range
        ("yuvj422p", 5, 0, (188, 95, 148)),  # what cameras give
        ("yuv420p", 1, 1, (199, 87, 152)),  # BT.709
        ("yuv422p", 14, 1, (200, 90, 150)),  # a space that FFmpeg refuses to convert
        ("yuv422p", 255, 1, (200, 90, 150)),  # none at all, from a damaged header
        ("rgb24", 0, 0, (188, 128, 128)),
    ],
)
def test_other_colours_become_ours(name, space, full, seen):
    import av

    picture = av.VideoFrame(16, 16, name)
    for plane, value in zip(picture.planes, (200, 90, 150), strict=False):
        plane.update(bytes([value]) * plane.buffer_size)
    picture.colorspace, picture.color_range = space, full
    frame = VideoFrame.from_picture(picture)
    assert [plane[9] for plane in frame.planes] == pytest.approx(seen, abs=1)


def test_red_is_red_as_an_array_and_as_an_image():
    numpy = pytest.importorskip("numpy", reason="needs pip install numpy")
    frame = plain(16, 8, RED, timestamp=1.0)
    array = frame.to_numpy()
    assert array.shape == (8, 16, 3) and array.dtype == numpy.uint8
    assert abs(array.astype(int) - [255, 0, 0]).max() <= 2
    back = VideoFrame.from_numpy(array, timestamp=1.0)
    assert back.size == (16, 8) and back.timestamp == 1.0
    assert [abs(p[0] - v) <= 1 for p, v in zip(back.planes, RED, strict=True)] == [True] * 3


def test_images_go_in_and_out():
    pytest.importorskip("PIL", reason="needs pip install pillow")
    image = plain(16, 8, RED).to_image()
    assert image.size == (16, 8) and image.mode == "RGB"
    for mode in ("RGB", "RGBA", "L"):
        assert VideoFrame.from_image(image.convert(mode)).size == (16, 8)
    assert abs(VideoFrame.from_image(image).planes[2][0] - RED[2]) <= 1


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3), (4097, 1, 3)])
def test_arrays_of_another_shape_are_refused(shape):
    numpy = pytest.importorskip("numpy", reason="needs pip install numpy")
    with pytest.raises(UsageError):
        VideoFrame.from_numpy(numpy.zeros(shape, numpy.uint8))
    with pytest.raises(UsageError):
        VideoFrame.from_numpy(numpy.zeros((4, 4, 3), numpy.uint16))


def test_a_scaled_frame_keeps_colour_and_time():
    small = plain(64, 48, RED, timestamp=3.0).scaled(32, 20)
    assert (small.size, small.timestamp) == ((32, 20), 3.0)
    assert [p[5] for p in small.planes] == pytest.approx(RED, abs=1)
    assert small.scaled(32, 20) is small


@pytest.mark.parametrize(
    ("size", "target", "inner"),
    [((64, 36), (64, 64), (0, 14)), ((36, 64), (64, 64), (14, 0)), ((64, 36), (32, 18), (0, 0))],
)
def test_a_fitted_frame_keeps_its_shape_between_black_bars(size, target, inner):
    fitted = plain(*size, RED).fitted(*target)
    assert fitted.size == target
    width, height = target
    luma, _, red = fitted.planes
    left, top = inner
    middle = luma[height // 2 * width + width // 2]
    assert middle == pytest.approx(RED[0], abs=1)
    assert luma[(height // 2) * width + left] == pytest.approx(RED[0], abs=1)
    assert luma[top * width + width // 2] == pytest.approx(RED[0], abs=1)
    if left or top:
        assert luma[0] == 16 and luma[-1] == 16 and red[0] == 128 and red[-1] == 128


def test_likeness_is_one_for_the_same_and_less_for_another():
    frame = plain(64, 48, RED)
    assert ssim(frame, frame) == 1.0
    assert ssim(frame, VideoFrame.black(64, 48)) < 0.8
