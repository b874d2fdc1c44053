"""The labels of a take's parts: what each pixel of `Take.parts` shows."""

# Nothing of the person; the head with hair and neck; torso and clothes.
BACKGROUND, HEAD, TORSO = 0, 1, 2
