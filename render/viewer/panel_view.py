"""The tab that says what is drawn, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.render.viewer.state import SIDES

if TYPE_CHECKING:
    import viser

    from avatar.render.viewer.panel import Panel

BACKGROUNDS = {
    "Gray": "gray",
    "White": "white",
    "Black": "black",
    "Green screen": "green",
    "The recording's": "plate",
    "My colour": "",
}
DRAWINGS = {"Pictures from here": "pictures", "Splats in the browser": "splats"}
SHOWN = {"Head and shoulders": False, "Head alone": True}


def _name_of(value: object, names: dict) -> str:
    return next(name for name, each in names.items() if each == value)


def add_view(panel: Panel) -> None:
    """What is seen of the avatar, before what, beside what, and who draws it."""
    viewer, state, gui = panel.viewer, panel.viewer.state, panel.gui
    panel.direction = gui.add_markdown("")
    home = gui.add_button("View as recorded")
    shown = gui.add_dropdown("Show", tuple(SHOWN), initial_value=_name_of(state.head_alone, SHOWN))
    background = gui.add_dropdown(
        "Background", tuple(BACKGROUNDS), initial_value=_name_of(state.background, BACKGROUNDS)
    )
    color = gui.add_rgb("Colour", (60, 90, 120), visible=False)
    beside = gui.add_checkbox(
        "Recording beside it",
        state.beside,
        visible=state.programme.take is not None,
        hint="The picture the motion was tracked in",
    )
    with gui.add_folder("Drawing"):
        drawing = gui.add_dropdown(
            "Drawn as",
            tuple(DRAWINGS),
            initial_value=_name_of(state.drawing, DRAWINGS),
            hint="Pictures look the same everywhere; splats turn without delay on a computer with a GPU",
        )
        side = gui.add_slider("Picture size", min=SIDES[0], max=SIDES[1], step=32, initial_value=state.side)
        panel.rate, panel.lack = gui.add_markdown(""), gui.add_markdown("")

    @home.on_click
    def _(event: viser.GuiEvent) -> None:
        if event.client is not None:
            viewer.come_home(event.client)

    @shown.on_update
    def _(event: viser.GuiEvent) -> None:
        panel.change(lambda: setattr(state, "head_alone", SHOWN[shown.value]))
        if event.client is not None:
            viewer.come_home(event.client)

    def choose_background(_: object) -> None:
        chosen = BACKGROUNDS[background.value]
        color.visible = not chosen
        panel.change(lambda: setattr(state, "background", chosen or "#{:02x}{:02x}{:02x}".format(*color.value)))

    background.on_update(choose_background)
    color.on_update(choose_background)

    @beside.on_update
    def _(event: viser.GuiEvent) -> None:
        # A browser that draws splats has no place for the recording.
        if beside.value:
            drawing.value = _name_of("pictures", DRAWINGS)
        panel.change(lambda: setattr(state, "beside", beside.value))
        if event.client is not None:
            viewer.come_home(event.client)

    @drawing.on_update
    def _(_: object) -> None:
        panel.change(lambda: setattr(state, "drawing", DRAWINGS[drawing.value]))
        side.disabled = state.drawing == "splats"
        if state.drawing == "splats":
            beside.value = False

    @side.on_update
    def _(_: object) -> None:
        panel.change(lambda: setattr(state, "side", int(side.value)))
