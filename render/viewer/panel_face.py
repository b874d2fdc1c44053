"""The tabs that move the face and the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.editing.emotions import emotions
from avatar.heads.controls import control_groups

if TYPE_CHECKING:
    from avatar.render.viewer.panel import Panel

OPEN_GROUPS = ("Mouth", "Jaw and tongue")


def add_face(panel: Panel) -> None:
    """Sliders of emotions and of ARKit's actions, added to what plays."""
    state, gui = panel.viewer.state, panel.gui
    weights, strengths = state.puppet.adjustments.weights, state.puppet.adjustments.emotions
    sliders = []
    reset = gui.add_button("All face sliders to zero")
    with gui.add_folder("Emotion", visible=state.puppet.feels):
        for name, preset in emotions().items():
            slider = gui.add_slider(preset.text, min=0.0, max=1.0, step=0.01, initial_value=0.0, hint=preset.hint)
            sliders.append(slider)

            @slider.on_update
            def _(_: object, name: str = name, slider=slider) -> None:
                panel.change(lambda: strengths.__setitem__(name, slider.value))

    for group in control_groups():
        with gui.add_folder(group.name, expand_by_default=group.name in OPEN_GROUPS):
            for control in (side for each in group.controls for side in each.sides()):
                action = control.moves[0]
                if action not in state.puppet.actions:
                    continue
                slider = gui.add_slider(
                    control.text, min=0.0, max=1.0, step=0.01, initial_value=0.0, hint=f"ARKit: {action}"
                )
                sliders.append(slider)

                @slider.on_update
                def _(_: object, action: str = action, slider=slider) -> None:
                    panel.change(lambda: weights.__setitem__(action, slider.value))

    @reset.on_click
    def _(_: object) -> None:
        for slider in sliders:
            slider.value = 0.0


def add_head(panel: Panel) -> None:
    """Sliders of neck, gaze, jaw and lids, and how strongly the motion acts."""
    state, gui = panel.viewer.state, panel.gui
    adjustments = state.puppet.adjustments
    sliders = []

    def add(label: str, low: float, high: float, first: float, write, *, hint: str = "") -> None:
        slider = gui.add_slider(
            label, min=low, max=high, step=0.01 if high <= 2 else 0.5, initial_value=first, hint=hint
        )
        sliders.append((slider, first))

        @slider.on_update
        def _(_: object) -> None:
            panel.change(lambda: write(slider.value))

    reset = gui.add_button("All of these back")
    with gui.add_folder("Neck"):
        for index, (label, reach) in enumerate(
            (("Nod up", 25.0), ("Turn to its left", 40.0), ("Tilt to its left", 25.0))
        ):
            add(label, -reach, reach, 0.0, lambda v, i=index: adjustments.neck.__setitem__(i, v), hint="Degrees")
    with gui.add_folder("Eyes"):
        for index, (label, reach) in enumerate((("Look up", 20.0), ("Look to its left", 30.0))):
            add(label, -reach, reach, 0.0, lambda v, i=index: adjustments.gaze.__setitem__(i, v), hint="Degrees")
        add("Close the lids", 0.0, 1.0, 0.0, lambda v: setattr(adjustments, "blink", v))
    with gui.add_folder("Jaw"):
        add("Open the jaw", 0.0, 25.0, 0.0, lambda v: adjustments.jaw.__setitem__(0, v), hint="Degrees")
        add("Jaw to its left", -8.0, 8.0, 0.0, lambda v: adjustments.jaw.__setitem__(1, v), hint="Degrees")
    with gui.add_folder("Strength of the motion"):
        for label, name in (
            ("Expression", "expression_gain"),
            ("Jaw", "jaw_gain"),
            ("Head movement", "head_gain"),
            ("Blinks", "blink_gain"),
        ):
            add(label, 0.0, 2.0, 1.0, lambda v, n=name: setattr(adjustments, n, v), hint="1 is as recorded, 0 is none")

    @reset.on_click
    def _(_: object) -> None:
        for slider, first in sliders:
            slider.value = first
