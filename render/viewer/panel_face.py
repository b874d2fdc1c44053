"""The tabs that move the face and the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avatar.render.viewer.panel import Panel

# ARKit's actions by where they are seen.
GROUPS = {
    "Mouth": ("mouthSmile", "mouthFrown", "mouthPucker", "mouthFunnel", "mouthClose", "mouthLeft", "mouthRight"),
    "Lips": ("mouth",),
    "Jaw and tongue": ("jaw", "tongue"),
    "Eyelids": ("eyeBlink", "eyeSquint", "eyeWide"),
    "Gaze, each eye": ("eyeLook",),
    "Brows": ("brow",),
    "Cheeks and nose": ("cheek", "nose"),
}
# ARKit's names in plain words; of pairs what both have in common.
WORDS = {
    "browDown": "Brow down",
    "browInnerUp": "Inner brows up",
    "browOuterUp": "Outer brow up",
    "cheekPuff": "Puff the cheeks",
    "cheekSquint": "Cheek up",
    "eyeBlink": "Blink",
    "eyeLookDown": "Look down",
    "eyeLookIn": "Look inwards",
    "eyeLookOut": "Look outwards",
    "eyeLookUp": "Look up",
    "eyeSquint": "Squint",
    "eyeWide": "Wide open",
    "jawForward": "Jaw forward",
    "jawLeft": "Jaw to its left",
    "jawOpen": "Jaw open",
    "jawRight": "Jaw to its right",
    "mouthClose": "Lips together",
    "mouthDimple": "Dimple",
    "mouthFrown": "Frown",
    "mouthFunnel": "Funnel, as in oh",
    "mouthLeft": "To its left",
    "mouthLowerDown": "Lower lip down",
    "mouthPress": "Press",
    "mouthPucker": "Pucker, as a kiss",
    "mouthRight": "To its right",
    "mouthRollLower": "Roll lower lip in",
    "mouthRollUpper": "Roll upper lip in",
    "mouthShrugLower": "Lower lip shrug",
    "mouthShrugUpper": "Upper lip shrug",
    "mouthSmile": "Smile",
    "mouthStretch": "Stretch",
    "mouthUpperUp": "Upper lip up",
    "noseSneer": "Sneer",
    "tongueOut": "Tongue out",
}
OPEN_GROUPS = ("Mouth",)


def grouped(actions: tuple[str, ...]) -> dict[str, list[str]]:
    """The actions in their groups, each in the first that fits."""
    groups: dict[str, list[str]] = {name: [] for name in GROUPS}
    for action in actions:
        group = next(name for name, starts in GROUPS.items() if action.startswith(starts))
        groups[group].append(action)
    return {name: members for name, members in groups.items() if members}


def plain_name(action: str) -> str:
    """An ARKit name in plain words: ``mouthSmileLeft`` is "Smile, left"."""
    if action in WORDS:
        return WORDS[action]
    stem, side = next((action.removesuffix(side), side) for side in ("Left", "Right") if action.endswith(side))
    return f"{WORDS[stem]}, {side.lower()}"


def add_face(panel: Panel) -> None:
    """Sliders of ARKit's actions, added to what plays."""
    state, gui = panel.viewer.state, panel.gui
    weights = state.puppet.adjustments.weights
    sliders = []
    reset = gui.add_button("All face sliders to zero")
    for group, members in grouped(state.puppet.actions).items():
        with gui.add_folder(group, expand_by_default=group in OPEN_GROUPS):
            for action in members:
                slider = gui.add_slider(
                    plain_name(action), min=0.0, max=1.0, step=0.01, initial_value=0.0, hint=f"ARKit: {action}"
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
