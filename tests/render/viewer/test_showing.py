"""What reaches the browser: pictures, splats, sound, videos, and the stream they come through."""

import base64
import http.client
import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
import torch

from avatar.cameras import Camera
from avatar.errors import InputError
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.io.audio import read_audio
from avatar.io.video import probe
from avatar.motion import Motion
from avatar.render import rasterize
from avatar.render.compose import covering
from avatar.render.head_alone import head_alone
from avatar.render.playback import PosedAvatar, render_over
from avatar.render.shots import head_centers
from avatar.render.trajectories import around, orbit
from avatar.render.viewer.direction import said_direction
from avatar.render.viewer.pictures import (
    Backdrop,
    Beside,
    Window,
    draw_window,
    picture_size,
    scaled,
    window_of,
)
from avatar.render.viewer.programme import Programme
from avatar.render.viewer.recorder import Moment, Recorder, video_of
from avatar.render.viewer.stream import PictureStream
from avatar.view_cone import ViewCone

PLATE = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)


def test_a_browser_s_view_is_the_camera_it_came_from() -> None:
    camera = orbit(Camera.front(90.0, 64, 64), np.array([0, 0, -0.8]), np.array([1.2]))[0]
    wxyz, position = window_of(camera)
    window = Window(tuple(wxyz), tuple(position), 2 * np.arctan(32 / 90), 1.0)
    again = window.camera(64, 64)
    assert np.allclose(again.viewmat, camera.viewmat) and np.allclose(again.K, camera.K)


def test_a_window_shows_what_is_rendered(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    pose, camera = tiny_gaussians.poses(tiny_motion)[3], Camera.front(90.0, 64, 64)
    wxyz, position = window_of(camera)
    window = Window(tuple(wxyz), tuple(position), 2 * np.arctan(32 / 90), 1.0)
    backdrop, posed = Backdrop(PLATE), PosedAvatar(tiny_gaussians, pose)
    shown = draw_window(posed, window, 64, backdrop=backdrop, background="#204060")
    behind = np.array([[[0x20, 0x40, 0x60]]], np.float32) / 255
    assert np.array_equal(shown, render_over(tiny_gaussians, pose, camera, background=behind))
    truth = np.full((64, 40, 3), 200, np.uint8)
    recording = Beside(truth, window.fov)
    beside = draw_window(posed, window, 64, backdrop=backdrop, background="plate", beside=recording)
    assert beside.shape == (64, 64, 3) and (beside[:, :32] == 200).all() and beside[:, 32:].std() > 5
    # A window that sees more than the recording did shows the recording smaller, but never less than all of its width.
    wide = window._replace(fov=2 * np.arctan(2 * np.tan(window.fov / 2)))
    smaller = draw_window(posed, wide, 64, backdrop=backdrop, background="#000000", beside=recording)
    assert (smaller[7:57, :32] == 200).all() and not smaller[:6, :32].any() and not smaller[58:, :32].any()
    nothing = Beside(None, window.fov)
    upright = draw_window(posed, wide._replace(aspect=0.5), 64, backdrop=backdrop, background="white", beside=nothing)
    assert (upright[: len(upright) // 2] == 128).all()


@pytest.mark.parametrize("aspect", [0.1, 0.46, 1.0, 1.78, 9.0])
def test_pictures_keep_their_area_and_are_even(aspect: float) -> None:
    width, height = picture_size(512, aspect)
    assert width % 2 == height % 2 == 0
    assert width * height == pytest.approx(512**2, rel=0.02)
    assert width / height == pytest.approx(np.clip(aspect, 0.3, 4.0), rel=0.02)


def test_backgrounds_cover_and_recordings_keep_their_scale() -> None:
    striped = np.zeros((40, 80, 3), np.uint8)
    striped[:, 40:] = 255
    square = covering(striped, 20, 20)
    assert square.shape == (20, 20, 3) and square[:, 0].max() == 0 and square[:, -1].min() == 255
    gray = np.full((1, 1, 3), 0.5, np.float32)
    whole = scaled(striped, 20, 20, gray, scale=0.0)
    assert (whole[0] == 128).all() and (whole[10, 0] == 0).all() and (whole[10, -1] == 255).all()
    # 40 rows at 3/8 are 15 of the 20, and the picture is wider than its place.
    between = scaled(striped, 20, 20, gray, scale=0.375)
    assert (
        (between[[0, 1, -2, -1]] == 128).all() and (between[4:16, :9] == 0).all() and (between[4:16, 11:] == 255).all()
    )
    assert np.array_equal(scaled(striped, 20, 20, gray, scale=9.0), square)


def test_splats_are_the_gaussians_in_larger_units(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    """Half precision, which the browser gets, keeps the picture: drawn with it by our own rasteriser."""
    from avatar.render.viewer.splats import ENLARGED, splat_arrays

    world = tiny_gaussians(tiny_gaussians.poses(tiny_motion)[2])
    arrays = splat_arrays(world)
    assert np.allclose(arrays.centers / ENLARGED, world.means.numpy(), atol=1e-6)
    half = torch.as_tensor(arrays.covariances.astype(np.float16).astype(np.float32)) / ENLARGED**2
    values, axes = torch.linalg.eigh(half)
    axes = axes * torch.linalg.det(axes)[:, None, None].sign()
    from avatar.fields.rig import rotmat_to_quat

    viewmat, K = (torch.as_tensor(m, dtype=torch.float32) for m in (Camera.front(90.0, 64, 64).viewmat, np.eye(3)))
    K = torch.tensor([[90.0, 0, 32], [0, 90, 32], [0, 0, 1]])
    shapes = {"exact": (world.quats, world.scales), "sent": (rotmat_to_quat(axes), values.clamp_min(1e-14).sqrt())}
    pictures = {
        name: rasterize(world.means, quats, scales, world.opacities, world.colors, viewmat, K, 64, 64).image
        for name, (quats, scales) in shapes.items()
    }
    assert (pictures["exact"] - pictures["sent"]).abs().max() < 0.01


def test_the_panel_says_from_where_the_head_is_seen(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    still = np.zeros((1, 3), np.float32)
    pose = tiny_gaussians.poses(replace(tiny_motion[:1], global_orient=still, neck_pose=still))[0]
    center = head_centers(tiny_gaussians, [pose])[0]

    def said(yaw: float, pitch: float, cone: ViewCone | None = None) -> str:
        wxyz, position = window_of(around(Camera.front(90.0, 64, 64), center, yaw=yaw, pitch=pitch))
        return said_direction(tiny_gaussians, pose, Window(tuple(wxyz), tuple(position), 0.6, 1.0), cone)

    cone = ViewCone((-20.0, 20.0), (-10.0, 10.0))
    assert said(0, 0) == "Seen from the front"
    assert said(36, 0) == "Seen from 35° left"
    assert "✔ Seen from the front: the recording shows this side well" in said(0, 0, cone)
    assert "past what the recording shows well" in said(-40, -15, cone) and "40° right and 15° below" in said(-41, -15)


def test_the_head_alone_has_no_shoulders(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    alone = head_alone(tiny_gaussians)
    assert 0 < len(alone) < len(tiny_gaussians)
    assert not (alone.regions == REGIONS.index("torso")).any()
    pose, camera = tiny_gaussians.poses(tiny_motion)[0], Camera.front(90.0, 64, 64)
    whole, part = (PosedAvatar(g, pose).draw(camera) for g in (tiny_gaussians, alone))
    assert part.alpha[-4:].max() < 0.02 < 0.2 < whole.alpha[-4:].max()
    top = whole.alpha[..., 0].sum(1).nonzero()[0, 0] + 8
    torch.testing.assert_close(whole.image[:top], part.image[:top], atol=1e-3, rtol=0)


def test_sound_in_the_page_is_the_sound() -> None:
    pytest.importorskip("viser", reason="the viewer is an extra: pip install 'headsplat[view]'")
    from avatar.render.viewer.sound import RATE, data_url

    sound = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000).astype(np.float32) / 2
    stereo = np.stack([sound, sound], axis=1)
    for samples in (sound, stereo):
        kind, content = data_url(samples, 16000).split(",")
        assert kind == "data:audio/wav;base64"
        again, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert rate == RATE and len(again) == RATE
        expected = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE) / 2
        assert np.abs(again - expected)[500:-500].max() < 0.01


@pytest.fixture
def moments(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> list[Moment]:
    """Two seconds as they were seen at an uneven rate, the timeline jumping back in the middle."""
    tone = np.arange(16000 * 8, dtype=np.float32) / (16000 * 8)
    programme = Programme("tiny", tiny_motion, (tone, 16000))
    window = Window((0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.6, 1.0)
    pose = tiny_gaussians.poses(tiny_motion)[0]
    clock = np.cumsum([0.0, *([0.03, 0.05] * 25)])
    times = np.where(clock < 1, 2 + clock, clock)
    return [
        Moment(100 + now, tiny_gaussians, pose, window, "gray", programme, float(time), False, True)
        for now, time in zip(clock, times, strict=True)
    ]


def test_a_recording_has_an_even_rate_and_the_sound_that_was_heard(moments: list[Moment], tmp_path: Path) -> None:
    seen = []
    content = video_of(moments, side=64, fps=Fraction(20), backdrop=Backdrop(PLATE), progress=seen.append)
    (tmp_path / "r.mp4").write_bytes(content)
    info = probe(tmp_path / "r.mp4")
    assert (info.width, info.height, info.fps, info.frames, info.has_audio) == (64, 64, 20, 40, True)
    assert seen[-1] == 1.0
    from avatar.render.viewer.recorder import sound_of

    heard = sound_of(moments, moments[0].programme.sound, 2.0)
    assert heard is not None and len(heard) == 32000
    place = heard * 8
    assert place[8000] == pytest.approx(2.5, abs=1e-3) and place[24000] == pytest.approx(1.5, abs=1e-3)
    # Within a piece the sound is unbroken, however uneven the pictures were.
    assert np.abs(np.diff(place[:15000]) - 1 / 16000).max() < 1e-5
    sound = read_audio(tmp_path / "r.mp4", rate=16000)
    assert sound is not None and len(sound) == pytest.approx(32000, abs=2000)


def test_nothing_seen_is_no_video(moments: list[Moment]) -> None:
    with pytest.raises(InputError, match="Nothing was recorded"):
        video_of([], side=64, fps=Fraction(20), backdrop=Backdrop(PLATE))
    recorder = Recorder()
    recorder.start(3)
    for moment in (*moments[:2], moments[0]._replace(now=9999.0)):
        recorder.see(moment)
    assert len(recorder.stop()) == 2 and recorder.client is None and not recorder.moments


def test_the_stream_sends_the_latest_picture_to_whom_it_belongs() -> None:
    stream = PictureStream("127.0.0.1")
    try:
        paths = [stream.open(number) for number in (0, 1)]
        assert paths[0] != paths[1] and not stream.is_watched(0)
        line = http.client.HTTPConnection("127.0.0.1", stream.port, timeout=5)
        line.request("GET", "/guess")
        assert line.getresponse().status == 404
        line.close()
        line.request("GET", paths[0] + "?software")
        answer = line.getresponse()
        assert answer.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=picture"
        for shade in (10, 200):
            picture = cv2.imencode(".jpg", np.full((16, 16, 3), shade, np.uint8))[1].tobytes()
            stream.show(1, b"another's")
            stream.show(0, picture)
            while not (header := answer.fp.readline()).startswith(b"Content-Length"):
                pass
            answer.fp.readline()
            assert answer.fp.read(int(header.split()[1])) == picture
        # A busy browser may not have shown the last one: it comes again, and counts once.
        while not (header := answer.fp.readline()).startswith(b"Content-Length"):
            pass
        answer.fp.readline()
        assert answer.fp.read(int(header.split()[1])) == picture and stream.delivered(0) == 2
        assert stream.is_watched(0) and not stream.is_watched(1)
        assert stream.lacks_gpu(0) and not stream.lacks_gpu(1)
        stream.close(0)
        stream.show(0, b"to nobody")
        assert b"picture" in answer.fp.read()
        line.close()
    finally:
        stream.stop()
