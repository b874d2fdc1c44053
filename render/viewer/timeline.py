"""The time that is shown: playing, paused, dragged, looped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Timeline:
    """A clock over a programme; all times in seconds, `now` from any steady clock.

    Attributes:
        duration: Length of the programme.
        loop: Start again at the end.
        playing: Whether time goes on.
        jumps: How often it was moved other than by going on: what goes along must follow.
    """

    duration: float
    loop: bool = True
    playing: bool = False
    jumps: int = 0
    _time: float = 0.0
    _since: float = 0.0

    def play(self, now: float) -> None:
        """Goes on, from the start where it is at the end."""
        if not self.playing:
            time = 0.0 if self._time >= self.duration else self._time
            self.playing, self._time, self._since = True, time, now
            self.jumps += 1

    def pause(self, now: float) -> None:
        """Stands still where it is."""
        if self.playing:
            self._time, self.playing = self.at(now), False
            self.jumps += 1

    def seek(self, time: float, now: float) -> None:
        """Goes to another moment and plays on, or stands still there."""
        self._time, self._since = min(max(time, 0.0), self.duration), now
        self.jumps += 1

    def restart(self, duration: float, now: float) -> None:
        """Takes another programme, from its start; plays on where it played."""
        self.duration = duration
        self.seek(0.0, now)

    def at(self, now: float) -> float:
        """The moment shown; at the end it starts again, or stops there."""
        if not self.playing:
            return self._time
        time = self._time + now - self._since
        if time < self.duration:
            return time
        if self.loop and self.duration > 0:
            self._time, self._since = (time - self.duration) % self.duration, now
        else:
            self._time, self.playing = self.duration, False
        self.jumps += 1
        return self._time
