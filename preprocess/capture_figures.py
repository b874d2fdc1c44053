"""The capture report's figures: the content of a take's report.json."""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA = 1
GO, WARNINGS, NO_GO = "go", "go with warnings", "no-go"
WARNING, STOP = "warning", "stop"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a recording.

    Attributes:
        name: Short name that does not change between versions, such as ``dark``.
        severity: ``warning``, or ``stop`` where no useful avatar can be expected.
        title: What is wrong, in a few words.
        found: What was measured.
        expected: What would have been right.
        advice: What to do at the next recording, in plain words.
    """

    name: str
    severity: str
    title: str
    found: str
    expected: str
    advice: str


@dataclass(frozen=True)
class ClipFigures:
    """The recording as a whole.

    Attributes:
        frames: Number of frames.
        used_frames: Frames in which the face was seen well enough to learn from.
        seconds: Length of the recording.
        used_seconds: Seconds with the face.
        fps: Average frames a second.
        width: Width of the take's images in pixels.
        face_pixels: Median height of the face from hair line to chin, in pixels of the recording itself.
        lost: Start and end in seconds of every stretch without a face.
    """

    frames: int
    used_frames: int
    seconds: float
    used_seconds: float
    fps: float
    width: int
    face_pixels: float
    lost: list[tuple[float, float]]


@dataclass(frozen=True)
class PoseFigures:
    """Where the head was turned to, in degrees.

    Attributes:
        source: ``landmarks``, a weak-perspective fit before tracking, or ``motion``, the tracked head.
        yaw: 2nd, 50th and 98th percentile; positive towards the subject's left.
        pitch: The same; positive upwards.
        roll: The same; positive towards the subject's right shoulder.
        yaw_edges: Borders of the histogram's columns.
        pitch_edges: Borders of its rows.
        seconds: Seconds in each cell, one list a row, lowest pitch first; the outermost cells hold what lies
            beyond them too.
    """

    source: str
    yaw: tuple[float, float, float]
    pitch: tuple[float, float, float]
    roll: tuple[float, float, float]
    yaw_edges: list[float]
    pitch_edges: list[float]
    seconds: list[list[float]]


@dataclass(frozen=True)
class ShapeFigures:
    """How much was seen of one shape of the mouth: seconds in all, and how many separate times."""

    seconds: float
    times: int


@dataclass(frozen=True)
class FaceFigures:
    """What the face did.

    Attributes:
        actions: 2nd, 50th and 98th percentile of each ARKit action's score in [0, 1].
        mouth: The shapes of the mouth that speech is made of, by name.
        blinks: Number of blinks.
        blinks_per_minute: Their rate over the time with a face.
        blink_seconds: Median width at half height; None without blinks.
    """

    actions: dict[str, tuple[float, float, float]]
    mouth: dict[str, ShapeFigures]
    blinks: int
    blinks_per_minute: float
    blink_seconds: float | None


@dataclass(frozen=True)
class CoveredFigures:
    """What is before the face for a while, such as a hand.

    Attributes:
        frames: Frames in which something is.
        share: How much of the face that hides in them on average.
        spans: Start and end in seconds of every stretch of them.
    """

    frames: int
    share: float
    spans: list[tuple[float, float]]


@dataclass(frozen=True)
class PictureFigures:
    """Frame by frame, what the pictures are like over the face; one entry for each of `frames`.

    Attributes:
        frames: The frames that were measured: all, or some that are spread evenly over a long clip.
        edge_percent: Width (sigma) of the sharpest edges in per cent of the face's height; small is sharp.
        edge_pixels: The same in pixels of the images; about 1 is as sharp as pixels can be.
        luminance: Mean luma of the face, 0 to 255.
        bright: Luma of the face's brightest twentieth.
        highlights: Share of the face's pixels with a channel at its upper end.
        shadows: Share of the face's pixels that are black.
        cut_off: Whether the head reaches the top or a side of the picture.
    """

    frames: list[int]
    edge_percent: list[float]
    edge_pixels: list[float]
    luminance: list[float]
    bright: list[float]
    highlights: list[float]
    shadows: list[float]
    cut_off: list[bool]


@dataclass(frozen=True)
class SoundFigures:
    """What the sound is like, in dB of full scale.

    Attributes:
        speech_db: Mean level where there is speech; None where there is none.
        noise_db: Mean level of the pauses, or the level of the quietest twentieth where there are no pauses; stretches
            where nothing was recorded at all are left out.
        snr_db: How far speech is above the noise.
        speech_seconds: Seconds of speech.
        pause_seconds: Seconds of pauses.
        clipped: Share of the samples at full scale.
    """

    speech_db: float | None
    noise_db: float
    snr_db: float | None
    speech_seconds: float
    pause_seconds: float
    clipped: float


@dataclass(frozen=True)
class SyncFigures:
    """How far picture and sound are apart.

    Attributes:
        seconds: Sound time minus picture time of one moment: positive where the picture is early. 0 where not trusted.
        confidence: 0 to 1; below 0.5 the value is not trusted.
        note: Why it is not trusted, or empty.
    """

    seconds: float
    confidence: float
    note: str


@dataclass(frozen=True)
class TrackingFigures:
    """How well the tracked head meets the landmarks; errors are shares of the distance of the outer eye corners.

    Attributes:
        error: Median over used frames and landmarks.
        held_out_error: The same over the frames that taught the tracker nothing; None where there are none.
        regions: The same by region of the face.
        frames: Median over the landmarks, one a frame of the take; None where the face was lost.
        outliers: Frames that are far off the usual error.
        acceleration_ratio: Unsteadiness of the tracked landmarks over that of the detected ones.
        focal: Focal length in pixels of the images; None in older reports.
        focal_error: Standard deviation of its logarithm; None where it was not worked out.
    """

    error: float
    held_out_error: float | None
    regions: dict[str, float]
    frames: list[float | None]
    outliers: list[int]
    acceleration_ratio: float
    focal: float | None = None
    focal_error: float | None = None


@dataclass(frozen=True)
class CaptureReport:
    """The content of a take's report.json.

    Attributes:
        verdict: ``go``, ``go with warnings`` or ``no-go``.
        forced: Whether the user went on against a no-go.
        source_name: File name of the recording.
        source_sha256: SHA-256 of its bytes.
        findings: What is wrong, the worst first.
        clip: The recording as a whole.
        pose: Where the head was turned to.
        face: What the face did.
        pictures: Sharpness and exposure, frame by frame.
        sound: What the sound is like; None where there is none.
        sync: How far picture and sound are apart; None where there is no sound, and before tracking.
        tracking: How well the head was tracked; None before tracking.
        covered: What is before the face; None before it was looked for.
        limits: What the figures were judged by.
        schema: Version of this layout.
    """

    verdict: str
    forced: bool
    source_name: str
    source_sha256: str
    findings: list[Finding]
    clip: ClipFigures
    pose: PoseFigures
    face: FaceFigures
    pictures: PictureFigures
    sound: SoundFigures | None = None
    sync: SyncFigures | None = None
    tracking: TrackingFigures | None = None
    covered: CoveredFigures | None = None
    limits: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA
