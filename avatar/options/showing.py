"""The commands that show an avatar, and what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.options.shared import AvatarPath, Device, Output, Positional

Beyond = Literal["bounce", "hold"]


@dataclass(frozen=True)
class Render:
    """Render an avatar: by speech, a motion file or a video of somebody, from any camera, for one eye or two.

    Attributes:
        audio: Speech that drives it; any audio or video file. Beside --motion, what is heard with that.
        text: What it says; beside --audio, what that says, for the transcript.
        text_file: The same in a file of plain text.
        voice: Who says it, as `avatar voices` lists them; the best one of the language where it is left out.
        language: The text's language, such as `es` or `pt-br`; English where it is left out.
        speed: How fast it is said; 1, the voice's own pace, where it is left out.
        voice_command: Another program that says it: 'mytts --text {text} --out {wav}'.
        motion: A motion file that drives it: .npz, .csv of Live Link Face, .json of ARKit's coefficients.
        video: A video of anybody who drives it, whose sound is kept; or a take that `avatar preprocess` made of one.
        video_pose: The head's pose as in that video, `absolute`, or its movement from where this head rests,
            `relative`; where it is left out, absolute for the avatar's own recording and relative for any other.
        output: The video: .mp4, or .mov/.webm for a transparent background; a name without a suffix is a folder for
            numbered PNG pictures.
        camera: `front`, `orbit`, `dolly`, or a camera file: key-frames, or nerfstudio's camera_path.json.
        look_at_face: Turn the camera to the face in every picture.
        fov: Vertical field of view, degrees; the camera's own where it is left out.
        size: Longer side of the picture in pixels, or width and height as 1280x720; with two eyes that of one. The
            recording's, or the camera file's, where it is left out.
        fps: Frames per second; the recording's where it is left out.
        background: `plate` (the clip's own), `transparent`, a colour name, #rrggbb, or a video or picture file, which
            fills the picture; its sound is not heard.
        beyond: What such a video does where the film is longer: `bounce`, it goes back and forth, or `hold`, its last
            picture stays; `bounce` where it is left out.
        transparent: The same as `--background transparent`.
        depth: Write depth too: a video to look at beside the .mp4, 16-bit pictures beside a folder.
        normals: Write surface normals too, likewise.
        stereo: Two eyes: `sbs` side by side, `tb` left above right, `180` for VR180 headsets.
        ipd: Distance between the eyes of --stereo, millimetres; 63 where it is left out.
        convergence: Distance that --stereo shows in the screen's plane, metres; the head's where it is left out.
        camera_out: Write the cameras of the film as nerfstudio's camera_path.json.
        part: `bust`, or `head` without the shoulders and the clothes.
        motion_out: Write what the avatar does as a motion file too, .npz, .csv or .json, for `avatar motion` to edit.
        pose: `natural` head motion, the subject's own or that of --video; `still`; or a motion file whose head motion
            is taken.
        prosody: How strongly brows, nods and lids follow the melody of the voice: 0 not at all; 1, as in the recording,
            where it is left out.
        breathing: How strongly the shoulders rise and fall with the breath: 0 not at all; 1, as at rest, where it is
            left out.
        seed: Seed of blinks and head motion; 0 where it is left out.
        emotion: Emotions and styles over the face, each NAME or NAME:INTENSITY, or a JSON file of curves (neutral,
            happy, sad, angry, surprised, emphatic, calm; docs/editing.md).
        gain: How strongly parts of the motion act, each NAME=FACTOR (mouth, brows, cheeks, blinks, gaze, pose).
        gaze: Look at the `camera`, at a point x,y,z in metres, or as a JSON file says over time.
        keys: Key-frames over the motion, a CSV or JSON file (docs/editing.md).
        json: Print what was written as JSON.
    """

    avatar: AvatarPath
    audio: Path | None = None
    text: str | None = None
    text_file: Path | None = None
    voice: str | None = None
    language: str | None = None
    speed: float | None = None
    voice_command: str | None = None
    motion: Path | None = None
    video: Path | None = None
    video_pose: Literal["absolute", "relative"] | None = None
    output: Output = Path("talk.mp4")
    camera: str = "front"
    look_at_face: tyro.conf.FlagCreatePairsOff[bool] = False
    fov: float | None = None
    size: str | None = None
    fps: float | None = None
    background: str = "plate"
    beyond: Beyond | None = None
    transparent: tyro.conf.FlagCreatePairsOff[bool] = False
    depth: tyro.conf.FlagCreatePairsOff[bool] = False
    normals: tyro.conf.FlagCreatePairsOff[bool] = False
    stereo: Literal["sbs", "tb", "180"] | None = None
    ipd: float | None = None
    convergence: float | None = None
    camera_out: Path | None = None
    part: Literal["bust", "head"] = "bust"
    motion_out: Path | None = None
    pose: str = "natural"
    seed: int | None = None
    prosody: float | None = None
    breathing: float | None = None
    emotion: tuple[str, ...] = ()
    gain: tuple[str, ...] = ()
    gaze: str | None = None
    keys: Path | None = None
    device: Device = "cpu"
    json: bool = False


@dataclass(frozen=True)
class Dub:
    """Let the subject of a clip say something else: the avatar's head over the clip's own, in its place and light.

    Attributes:
        video: A clip of the avatar's subject.
        audio: What is said instead; any audio or video file.
        beyond: What the picture does where the sound is longer than the clip: `bounce`, it goes back and forth, or
            `hold`, its last picture stays.
        output: The video.
        json: Print what was written as JSON, with how well the head fits in.
    """

    avatar: AvatarPath
    video: Path
    audio: Path
    beyond: Beyond = "bounce"
    output: Output = Path("dub.mp4")
    device: Device = "cpu"
    json: bool = False


@dataclass(frozen=True)
class EditMotion:
    """Edit a motion, mix several, or bring one into another format (docs/editing.md).

    Formats, in and out, by the name's ending: .npz a motion, .csv Live Link Face, .json ARKit's 52 coefficients. What
    is asked for is done in the order below. Times are seconds from the first moment on.

    Attributes:
        inputs: The motion; several are mixed.
        output: The file to write.
        avatar: Whose face it is: the head model, and where the head rests. Without it, that of the first .npz is taken,
            or the open head.
        mix: How much each input has of the mixture, in their order: numbers, or JSON files of a curve; all the same
            where it is left out.
        start: Where to begin.
        end: Where to end.
        speed: How much faster; 0.5 takes twice the time.
        fps: Moments a second of the result; the motion's own where it is left out.
        smooth: Blur over time, seconds (standard deviation).
        offset: Move the motion to a later time by this, at the same length; earlier where negative.
        channels: What --mix, --smooth and --offset act on, the rest being the first input's: some of mouth, brows,
            cheeks, blinks, gaze, pose; all of them where it is left out.
        gain: How strongly parts of the motion act, each NAME=FACTOR (names as above).
        emotion: Emotions and styles over the face, each NAME or NAME:INTENSITY, or a JSON file of curves (neutral,
            happy, sad, angry, surprised, emphatic, calm).
        gaze: Look at the `camera` of the recording, at a point x,y,z in metres, or as a JSON file says over time.
        keys: Key-frames over the motion, a CSV or JSON file.
        json: Print what was written as JSON.
    """

    inputs: Positional[tuple[Path, ...]]
    output: Output = Path("motion.npz")
    avatar: Path | None = None
    mix: tuple[str, ...] = ()
    start: float = 0.0
    end: float | None = None
    speed: float = 1.0
    fps: float | None = None
    smooth: float = 0.0
    offset: float = 0.0
    channels: tuple[str, ...] = ()
    gain: tuple[str, ...] = ()
    emotion: tuple[str, ...] = ()
    gaze: str | None = None
    keys: Path | None = None
    json: bool = False


@dataclass(frozen=True)
class Export:
    """Write an avatar in a format that other programs read (docs/exports.md).

    Splats of one moment: ply, compressed-ply, splat, spz, spz4, gltf. The avatar, to be played elsewhere: rig, lam
    (zip). The head's mesh: mesh (GLB), obj, flame (npz), usd. A page that any web server hosts: web (docs/web.md). The
    avatar itself in one file, which every command takes in place of the folder: avatar.

    Attributes:
        format: One of the names above; where it is left out, the first that the name of --output fits, and else ply.
        output: The file, or the folder for `rig` and `web`; where it is left out, the avatar's name with the format's:
            me.ply, me-mesh.glb, me-web.
        motion: A motion file (npz) whose moment to take, or that an animation plays; the neutral pose where both this
            and --time are left out.
        audio: What `web` plays; the avatar speaks it where no --motion is given. Any audio or video file.
        webcam: The unpacked npm package @mediapipe/tasks-vision, with which the page of `web` can follow its visitor's
            face (docs/web.md).
        time: The moment, seconds in the motion's own time; in the avatar's own recording where no --motion is given.
        json: Print what was written as JSON.
    """

    avatar: AvatarPath
    format: str | None = None
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    motion: Path | None = None
    audio: Path | None = None
    webcam: Path | None = None
    time: float | None = None
    json: bool = False


@dataclass(frozen=True)
class View:
    """Look at an avatar in the browser: play, turn, move its face, film it.

    Attributes:
        take: A take to play, with the recording beside the avatar; the one inside the avatar's folder is played where
            it is left out.
        audio: Speech to play; any audio or video file.
        motion: A motion file (npz) to play.
        voice: Who says what is typed into the panel, as `avatar voices` lists them.
        language: The language it is said in; English where it is left out.
        draw: `pictures` rendered here, or `splats` drawn in the browser.
        size: Size of the pictures, pixels: they have the area of a square of that side.
        host: Address to listen at; 0.0.0.0 lets other machines in.
        port: Port to listen at.
        livelink: UDP port at which the app Live Link Face drives the avatar; its usual is 11111.
        websocket: Port at which ARKit coefficients as JSON drive it over a WebSocket.
        open: Open the browser.
    """

    avatar: AvatarPath
    take: Positional[Path | None] = None
    audio: Path | None = None
    motion: Path | None = None
    voice: str | None = None
    language: str | None = None
    draw: Literal["pictures", "splats"] = "pictures"
    size: int = 512
    host: str = "127.0.0.1"
    port: int = 8080
    livelink: int | None = None
    websocket: int | None = None
    device: Device = "cpu"
    open: tyro.conf.FlagCreatePairsOff[bool] = False
