"""The viewer's panel: its tabs, and what they say while the avatar plays."""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from avatar.errors import AvatarError
from avatar.render.viewer.panel_face import add_face, add_head
from avatar.render.viewer.panel_save import add_camera, add_save
from avatar.render.viewer.panel_view import add_view

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import viser

    from avatar.render.viewer.programme import Programme
    from avatar.render.viewer.server import Viewer

PANEL_WIDTH = 330


class Panel:
    """Builds the panel and keeps it up to date.

    Args:
        viewer: What it controls.
    """

    rate: viser.GuiMarkdownHandle
    lack: viser.GuiMarkdownHandle
    direction: viser.GuiMarkdownHandle
    show_recording: Callable[[bool], None]

    def __init__(self, viewer: Viewer) -> None:
        self.viewer, self.gui = viewer, viewer.server.gui
        self._dragged, self._rate = 0.0, 0.0
        self.gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        # Beside the picture and not over it; a phone has it below in any case.
        self.gui.main_panel.dock_right()
        self.gui.main_panel.set_width(PANEL_WIDTH)
        self._add_playback()
        tabs = self.gui.add_tab_group()
        added: dict[str, Callable[[Any], None]] = {
            "Face": add_face,
            "Head": add_head,
            "View": add_view,
            "Camera": add_camera,
            "Save": add_save,
        }
        for label, add in added.items():
            with tabs.add_tab(label):
                add(self)

    def _add_playback(self) -> None:
        import viser

        viewer, state, gui = self.viewer, self.viewer.state, self.gui
        self._name = gui.add_markdown("")
        self._time = gui.add_slider(
            "Time", min=0.0, max=1.0, step=0.01, initial_value=0.0, hint="Seconds; drag to look"
        )
        self._play = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
        with gui.add_folder("Playing"):
            loop = gui.add_checkbox("Play again at the end", state.timeline.loop)
            sound = gui.add_checkbox("Sound", True)
            if viewer.speak is not None:
                upload = gui.add_upload_button(
                    "Let it say a sound file", icon=viser.Icon.MICROPHONE, mime_type="audio/*,video/*"
                )
                upload.on_upload(self.guarded(self._say_file))
                self._text = gui.add_text("Say", "", multiline=True, hint="What the avatar shall say")
                gui.add_button("Let it say this", icon=viser.Icon.MESSAGE).on_click(self.guarded(self._say_text))
        self._playing: bool | None = None
        self.show_programme(state.programme)

        @self._time.on_update
        def _(event: viser.GuiEvent) -> None:
            # The panel's own updates have no client.
            if event.client is not None:
                self._dragged = time.perf_counter()
                self.change(lambda: state.timeline.seek(self._time.value, time.perf_counter()))

        @self._play.on_click
        def _(_: object) -> None:
            clock, now = state.timeline, time.perf_counter()
            self.change(lambda: clock.pause(now) if clock.playing else clock.play(now))

        @loop.on_update
        def _(_: object) -> None:
            self.change(lambda: setattr(state.timeline, "loop", loop.value))

        @sound.on_update
        def _(_: object) -> None:
            viewer.sound.switch(sound.value)

    def _say_file(self, event: viser.GuiEvent) -> None:
        """Makes the avatar say a file that a browser has sent."""
        import tempfile
        from pathlib import Path

        name = Path(event.target.value.name).name
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (name or "sound")
            path.write_bytes(event.target.value.content)
            self._say(event, path, name)

    def _say_text(self, event: viser.GuiEvent) -> None:
        """Makes the avatar say what a browser has typed."""
        self._say(event, self._text.value, "this text")

    def _say(self, event: viser.GuiEvent, said: Path | str, name: str) -> None:
        assert self.viewer.speak is not None and event.client is not None
        note = event.client.add_notification("One moment", f"The avatar learns to say {name}.", loading=True)
        try:
            self.viewer.play(self.viewer.speak(said))
        finally:
            note.remove()

    def show_programme(self, programme: Programme) -> None:
        """Says what is played."""
        self._name.content = f"**{programme.name}**"
        self._time.max = max(round(programme.duration, 2), 0.01)
        self._time.value = 0.0

    def show_source(self, source: str) -> None:
        """Says who moves the face: what is played, or somebody outside."""
        name = self.viewer.state.programme.name
        said = f"**Live: {source}**" if source else f"**{name}**"
        if said != self._name.content:
            self._name.content = said

    def show_time(self, moment: float) -> None:
        """Moves the slider, unless somebody drags it, and tells whether it plays."""
        import viser

        playing = self.viewer.state.timeline.playing
        if playing != self._playing:
            self._playing = playing
            self._play.label = "Pause" if playing else "Play"
            self._play.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY
        if time.perf_counter() - self._dragged > 0.5:
            self._time.value = round(min(moment, self._time.max), 2)

    def show_rate(self, rate: float) -> None:
        """Says how many pictures a second are shown, where that has changed."""
        if abs(rate - self._rate) >= 1.5 or (rate == 0) != (self._rate == 0):
            self._rate = rate
            self.rate.content = f"{rate:.0f} pictures a second" if rate else "Standing still"

    def show_lack(self, said: str) -> None:
        """Says what keeps a browser from drawing, where that has changed."""
        if said != self.lack.content:
            self.lack.content = said

    def show_direction(self, said: str) -> None:
        """Says from where the avatar is looked at, where that has changed."""
        if said != self.direction.content:
            self.direction.content = said

    def change(self, act: Callable[[], object]) -> None:
        """Changes the state, and says so to the loop."""
        with self.viewer.state.lock:
            act()
            self.viewer.state.touch()

    def guarded(self, act: Callable[[Any], object]) -> Callable[[Any], None]:
        """A callback whose errors are shown in the browser that caused them."""

        @wraps(act)
        def call(event: Any) -> None:
            try:
                act(event)
            except AvatarError as error:
                self.tell(event.client, error)

        return call

    def tell(self, client: viser.ClientHandle | None, error: AvatarError) -> None:
        """Shows an error in a browser."""
        parts = (("Expected", error.expected), ("Found", error.found), ("To do", error.fix))
        body = " ".join(f"{label}: {text.rstrip('.')}." for label, text in parts if text)
        if client is not None:
            client.add_notification(error.what, body, color="red", auto_close_seconds=15)
