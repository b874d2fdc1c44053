"""A chart of known colours, encoded every way that recordings come in, must come back within a few 8-bit levels."""

from pathlib import Path

import av
import numpy as np
import pytest

from avatar.errors import FormatError
from avatar.io.video import Box, probe, read_frames

# Code points of ISO/IEC 23091-2.
BT709, BT601, BT2020 = 1, 6, 9
SDR, TEN_BIT, PQ, HLG = 1, 14, 16, 18
P3 = 12
LUMA = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), BT2020: (0.2627, 0.0593)}
# Red, green, blue and white as xy (ITU-R BT.709, BT.2020; SMPTE EG 432-1), all with the white point D65.
PRIMARIES = {
    BT709: [(0.640, 0.330), (0.300, 0.600), (0.150, 0.060)],
    BT2020: [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046)],
    P3: [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)],
}
PATCH = 8


def chart() -> np.ndarray:
    """(R, C, 3) sRGB codes: a grey wedge, skin tones, and saturated colours of middle brightness."""
    greys = [[v, v, v] for v in (0, 20, 50, 90, 130, 170)]
    skins = [[172, 128, 108], [150, 100, 82], [120, 76, 58], [90, 56, 42], [60, 38, 30], [176, 140, 124]]
    strong = [[170, 30, 40], [40, 150, 50], [40, 60, 160], [160, 150, 30], [150, 40, 140], [30, 150, 160]]
    return np.array([greys, skins, strong], np.uint8)


def linear(codes: np.ndarray) -> np.ndarray:
    signal = codes / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def to_xyz(primaries: int) -> np.ndarray:
    """Linear RGB to XYZ from chromaticities (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


def signal_of(light: np.ndarray, *, transfer: int, primaries: int) -> np.ndarray:
    """R'G'B' of linear BT.709 light as a camera would record it, with diffuse white at 203 cd/m2 in HDR."""
    light = light @ (np.linalg.inv(to_xyz(primaries)) @ to_xyz(BT709)).T
    if transfer == PQ:
        power = (203 * np.maximum(light, 0) / 1e4) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if transfer == HLG:
        display = np.maximum(light, 0) * 0.203
        luma = display @ (0.2627, 0.6780, 0.0593)
        scene = display * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def planes_of(signal: np.ndarray, *, matrix: int, full: bool, bits: int) -> np.ndarray:
    """(3, H, W) codes of Y'CbCr (ITU-T H.273, 8.3)."""
    red, blue = LUMA[matrix]
    luma = signal @ (red, 1 - red - blue, blue)
    chroma = [(signal[..., 2] - luma) / (2 - 2 * blue), (signal[..., 0] - luma) / (2 - 2 * red)]
    unit = 2 ** (bits - 8)
    if full:
        levels = [(2**bits - 1) * luma] + [(2**bits - 1) * c + 2 ** (bits - 1) for c in chroma]
    else:
        levels = [unit * (219 * luma + 16)] + [unit * (224 * c + 128) for c in chroma]
    return np.clip(np.round(levels), 0, 2**bits - 1).astype(np.uint16)


def write_chart(
    path: Path,
    light: np.ndarray,
    *,
    codec: str = "ffv1",
    matrix: int = BT709,
    full: bool = False,
    bits: int = 8,
    transfer: int = SDR,
    primaries: int = BT709,
    subsampling: str = "444",
) -> Path:
    """Two frames of light in patches, without loss, in a file that names its colours."""
    signal = signal_of(light, transfer=transfer, primaries=primaries)
    codes = planes_of(signal.repeat(PATCH, axis=0).repeat(PATCH, axis=1), matrix=matrix, full=full, bits=bits)
    pixels = f"yuv{subsampling}p" if bits == 8 else f"yuv{subsampling}p{bits}le"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"x265-params": "lossless=1:log-level=none"})
        stream.width, stream.height, stream.pix_fmt = codes.shape[2], codes.shape[1], pixels
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, 2 if full else 1
        context.color_trc, context.color_primaries = transfer, primaries
        for index in range(2):
            frame = av.VideoFrame(codes.shape[2], codes.shape[1], pixels)
            for plane, values in zip(frame.planes, codes.astype(np.uint8 if bits == 8 else "<u2"), strict=True):
                # Patches are even, so that chroma of every second sample is exact inside of them.
                values = values[:: len(values) // plane.height, :: values.shape[1] // plane.width]
                target = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                row = np.ascontiguousarray(values).view(np.uint8).reshape(plane.height, -1)
                target[: plane.height, : row.shape[1]] = row
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def patches(image: np.ndarray) -> np.ndarray:
    """The middle of each patch."""
    return image[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].astype(int)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_every_matrix_range_and_depth_gives_the_same_colours(tmp_path, matrix, bits, full, subsampling):
    path = write_chart(
        tmp_path / "a.mkv", linear(chart()), matrix=matrix, bits=bits, full=full, subsampling=subsampling
    )
    assert np.abs(patches(next(read_frames(path)).image) - chart()).max() <= 2


@pytest.mark.parametrize(("codec", "subsampling"), [("ffv1", "444"), ("ffv1", "422"), ("libx265", "420")])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_what_is_not_bright_in_hdr_looks_as_in_sdr(tmp_path, transfer, codec, subsampling):
    path = write_chart(
        tmp_path / "a.mkv",
        linear(chart()),
        codec=codec,
        bits=10,
        matrix=BT2020,
        transfer=transfer,
        primaries=BT2020,
        subsampling=subsampling,
    )
    height, width = chart().shape[0] * PATCH, chart().shape[1] * PATCH
    # The whole picture, the same as a part, and shrunk: each takes another way through the scaler.
    for options in ({}, {"box": Box(0, 0, width, height)}):
        error = np.abs(patches(next(read_frames(path, **options)).image) - chart())
        assert error.max() <= 3 and error.mean() < 1
    half = next(read_frames(path, max_side=width // 2)).image[PATCH // 4 :: PATCH // 2, PATCH // 4 :: PATCH // 2]
    assert np.median(np.abs(half.astype(int) - chart())) <= 3


@pytest.mark.parametrize("primaries", [BT2020, P3])
def test_wide_primaries_in_sdr_are_brought_to_srgb(tmp_path, primaries):
    path = write_chart(
        tmp_path / "a.mkv", linear(chart()), bits=10, matrix=BT2020, transfer=TEN_BIT, primaries=primaries
    )
    assert np.abs(patches(next(read_frames(path)).image) - chart()).max() <= 2


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_highlights_keep_their_order_and_their_hue(tmp_path, transfer):
    light = np.geomspace(0.25, 1000 / 203, 24)
    colours = np.stack([light[:, None] * [1, 1, 1], light[:, None] * [1, 0.5, 0.2]])
    path = write_chart(tmp_path / "a.mkv", colours, bits=10, matrix=BT2020, transfer=transfer, primaries=BT2020)
    grey, orange = patches(next(read_frames(path)).image)
    assert (np.diff(grey[:, 0]) >= 0).all() and grey[-1].min() >= 253
    # Diffuse white stays below the brightest, and distinct from it.
    white = np.interp(1, light, grey[:, 1])
    assert 215 < white < 240
    assert np.ptp(grey, axis=1).max() <= 2
    ratio = linear(orange[:, 2]) / linear(orange[:, 0])
    assert np.abs(ratio / ratio[0] - 1).max() < 0.06


def test_colours_that_srgb_lacks_are_shown_without_wrapping(tmp_path):
    pure = np.array([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]])
    light = 0.3 * pure @ (np.linalg.inv(to_xyz(BT709)) @ to_xyz(BT2020)).T
    assert light.min() < -0.05
    path = write_chart(tmp_path / "a.mkv", light, bits=10, matrix=BT2020, transfer=PQ, primaries=BT2020)
    found = patches(next(read_frames(path)).image)[0]
    assert (found.argmax(axis=1)[:3] == [0, 1, 2]).all()
    # The luminance is kept; what leaves the gamut is desaturated.
    wanted = light[0] @ (0.2126, 0.7152, 0.0722)
    assert linear(found) @ (0.2126, 0.7152, 0.0722) == pytest.approx(wanted, abs=0.015)


@pytest.mark.parametrize("box", [Box(0, 0, 48, 24), Box(5, 3, 21, 17), Box(30, 7, 18, 17)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "nv12", "rgb24"])
def test_a_part_is_the_same_as_in_the_whole_picture(tmp_path, pixels, box):
    path = tmp_path / "a.nut"
    noise = np.random.default_rng(0).integers(0, 255, (24, 48, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 24, pixels
        container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode(None))
    whole, part = next(read_frames(path)).image, next(read_frames(path, box=box)).image
    inside = whole[box.top : box.top + box.height, box.left : box.left + box.width]
    assert np.abs(part.astype(int) - inside).max() <= 1
    assert next(read_frames(path, box=box, size=(9, 7))).image.shape == (7, 9, 3)


def test_colours_that_cannot_be_converted_are_refused(tmp_path):
    path = tmp_path / "a.mkv"
    write_chart(path, linear(chart()), bits=10, transfer=PQ, primaries=BT2020, matrix=BT2020)
    # Matroska's MatrixCoefficients (element 0x55B1, one byte): 14 is ICtCp.
    data = bytearray(path.read_bytes())
    at = data.index(b"\x55\xb1\x81") + 3
    assert data[at] == BT2020
    data[at] = 14
    path.write_bytes(data)
    for read in (probe, lambda p: next(read_frames(p))):
        with pytest.raises(FormatError, match="ICtCp"):
            read(path)
