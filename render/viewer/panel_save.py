"""The tabs for camera paths, pictures and videos."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2

from avatar.errors import InputError
from avatar.render.viewer.pictures import picture_size
from avatar.render.viewer.recorder import Moment, picture_of, video_of

if TYPE_CHECKING:
    import viser

    from avatar.render.viewer.panel import Panel
    from avatar.render.viewer.pictures import Window

SNAPSHOT_SIDE = 1024
VIDEO_RATE = Fraction(30)


def _window(panel: Panel, client: viser.ClientHandle) -> Window:
    from avatar.render.viewer.audience import seen_window

    window = seen_window(client)
    if window is None:
        raise InputError("The window cannot be seen", expected="a window that is open", found="one without area")
    return window


def add_camera(panel: Panel) -> None:
    """Key-frames of a camera path."""
    import viser as v

    state, gui = panel.viewer.state, panel.gui
    keys = state.keys
    count = gui.add_markdown("")
    add = gui.add_button("Add key-frame here", icon=v.Icon.PLUS)
    back = gui.add_button("Remove the last one", icon=v.Icon.ARROW_BACK_UP)
    seconds = gui.add_slider("Seconds between", min=0.5, max=10.0, step=0.5, initial_value=keys.seconds)
    loop = gui.add_checkbox("Back to the first at the end", keys.loop)
    fly = gui.add_button("Fly along the path", icon=v.Icon.ROUTE)
    save = gui.add_button("Save camera_path.json", icon=v.Icon.DOWNLOAD)
    load = gui.add_upload_button("Load a camera path", icon=v.Icon.UPLOAD, mime_type="application/json")

    def tell() -> None:
        number = len(keys.cameras)
        said = "No key-frames yet. Turn the view, then add one." if not number else f"Key-frames: **{number}**"
        count.content = said

    @add.on_click
    @panel.guarded
    def _(event: viser.GuiEvent) -> None:
        assert event.client is not None
        window = _window(panel, event.client)
        keys.cameras.append(window.camera(*picture_size(state.side, window.aspect)))
        tell()

    @back.on_click
    def _(_: object) -> None:
        del keys.cameras[-1:]
        tell()

    @seconds.on_update
    def _(_: object) -> None:
        keys.seconds = seconds.value

    @loop.on_update
    def _(_: object) -> None:
        keys.loop = loop.value

    @fly.on_click
    @panel.guarded
    def _(_: object) -> None:
        path = keys.path()
        panel.change(lambda: setattr(state, "flight", (path, time.perf_counter())))

    @save.on_click
    @panel.guarded
    def _(event: viser.GuiEvent) -> None:
        assert event.client is not None
        size = picture_size(state.side, _window(panel, event.client).aspect)
        event.client.send_file_download("camera_path.json", keys.file(*size), save_immediately=True)

    @load.on_upload
    @panel.guarded
    def _(event: viser.GuiEvent) -> None:
        assert event.client is not None
        keys.load(load.value.content, _window(panel, event.client).camera(512, 512))
        seconds.value = min(max(keys.seconds, 0.5), 10.0)
        tell()

    tell()


def add_save(panel: Panel) -> None:
    """Snapshots, and videos of what is seen."""
    import viser as v

    viewer, state, gui = panel.viewer, panel.viewer.state, panel.gui
    gui.add_markdown("What you see, as a file that your browser saves.")
    snapshot = gui.add_button("Save a picture", icon=v.Icon.CAMERA)
    record = gui.add_button("Start recording", icon=v.Icon.PLAYER_RECORD)
    done = gui.add_progress_bar(0.0, visible=False)

    def show(recording: bool) -> None:
        if recording:
            record.label, record.icon, record.color = "Stop and save the video", v.Icon.PLAYER_STOP, "red"
        else:
            record.label, record.icon, record.color = "Start recording", v.Icon.PLAYER_RECORD, None

    panel.show_recording = show

    @snapshot.on_click
    @panel.guarded
    def _(event: viser.GuiEvent) -> None:
        assert event.client is not None
        with state.lock:
            now = time.perf_counter()
            moment = state.timeline.at(now)
            pose = state.puppet.pose(state.programme.at(moment))
            cast, window = viewer.cast(state.head_alone), _window(panel, event.client)
            seen = Moment(now, cast, pose, window, state.background, state.programme, moment, state.beside, False)
        picture = picture_of(seen, SNAPSHOT_SIDE, backdrop=viewer.backdrop)
        content = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
        event.client.send_file_download("avatar.png", content, save_immediately=True)

    @record.on_click
    @panel.guarded
    def _(event: viser.GuiEvent) -> None:
        assert event.client is not None
        recorder, number = viewer.recorder, event.client.client_id
        if recorder.client not in (None, number):
            raise InputError(
                "Somebody else is recording",
                expected="one recording at a time",
                found="another browser's",
                fix="wait until it is saved",
            )
        if recorder.client is None:
            recorder.start(number)
            state.touch()
            show(True)
            return
        moments = recorder.stop()
        show(False)
        record.disabled, done.visible = True, True
        try:
            content = video_of(
                moments,
                side=state.side,
                fps=VIDEO_RATE,
                backdrop=viewer.backdrop,
                progress=lambda part: setattr(done, "value", round(100 * part)),
            )
        finally:
            record.disabled, done.visible, done.value = False, False, 0.0
        event.client.send_file_download("avatar.mp4", content, save_immediately=True)
