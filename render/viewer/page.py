"""What the viewer adds to viser's page: sound, pictures in front of its WebGL scene, and a phone's arrangement.

viser has none of them; this uses its message that runs a script in the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from viser._messages import RunJavascriptMessage

if TYPE_CHECKING:
    import viser

# `sync` keeps the sound with the timeline; `watch` opens the sequence of pictures; `cover` shows it before the scene.
# What is covered cannot be seen and is not drawn; whether a processor does the drawing is said in the address.
# `hush` closes viser's warning of that, which would lie before the face: pictures are no slower for it.
# `arrange` puts a narrow window's panel below the scene, not over it.
SCRIPT = """
const h = window.headsplat = window.headsplat || {audio: new Audio(), image: null, covered: false, wanted: false};
h.sync = (time, playing, tolerance) => {
  const a = h.audio;
  if (!a.src) return;
  if (Math.abs(a.currentTime - time) > tolerance) a.currentTime = Math.min(time, a.duration || time);
  if (playing && a.paused && time < (a.duration || 1e9)) a.play().catch(() => {});
  if (!playing && !a.paused) a.pause();
};
h.arrange = () => {
  const canvas = document.querySelector('canvas[data-engine]');
  const scene = canvas && canvas.closest('div[style*="z-index: 0"]');
  if (!scene) return setTimeout(h.arrange, 100);
  scene.classList.add('headsplat-scene');
  if (h.style) return;
  h.style = document.createElement('style');
  h.style.textContent = `@media (max-width: 36em) {
    .headsplat-scene { height: 44% !important; }
    div[style*="position: fixed"][style*="width: 20em"] { width: 100% !important; max-height: 56% !important; }
    div[style*="position: fixed"] div[style="width: 20em;"] { width: 100% !important; }
  }`;
  document.head.appendChild(h.style);
};
h.arrange();
h.hush = (tries) => {
  const notes = [...document.querySelectorAll('.mantine-Notification-root')];
  const note = notes.find((each) => each.textContent.includes('Software WebGL'));
  if (note) note.querySelector('button').click();
  else if (tries) setTimeout(() => h.hush(tries - 1), 200);
};
h.watch = (port, path) => {
  const canvas = document.querySelector('canvas[data-engine]');
  if (!canvas) return setTimeout(() => h.watch(port, path), 100);
  if (h.image) h.image.remove();
  const image = h.image = new Image();
  image.crossOrigin = 'anonymous';
  image.alt = 'The avatar';
  image.draggable = false;
  // A picture of another shape, drawn before the window took its own, is cut and never squashed.
  image.style.cssText = 'position:absolute;inset:0;width:100%;height:100%;object-fit:cover;' +
    'pointer-events:none;display:none';
  image.onerror = () => h.cover(false);
  const gl = canvas.getContext('webgl2'), known = gl && gl.getExtension('WEBGL_debug_renderer_info');
  const card = gl ? gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER) : 'software';
  const slow = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(card) ? '?software' : '';
  if (slow) h.hush(50);
  image.src = `${location.protocol}//${location.hostname}:${port}${path}${slow}`;
  canvas.parentElement.appendChild(image);
  if (gl && !h.gl) {
    h.gl = gl;
    for (const name of ['clear', 'drawArrays', 'drawElements', 'drawArraysInstanced', 'drawElementsInstanced']) {
      const draw = gl[name];
      gl[name] = (...values) => { if (!h.covered) draw.apply(gl, values); };
    }
  }
};
h.cover = (covered) => {
  h.wanted = covered && h.image !== null;
  // Before its first picture the element would cover the scene with nothing.
  if (h.wanted && !h.image.naturalWidth) return setTimeout(() => h.wanted && h.cover(true), 30);
  h.covered = h.wanted;
  if (h.image) h.image.style.display = h.covered ? 'block' : 'none';
};
"""


def run(client: viser.ClientHandle, script: str) -> None:
    """Runs a script in one browser's page."""
    client.gui._websock_interface.queue_message(RunJavascriptMessage(source=script))


def greet(client: viser.ClientHandle) -> None:
    """Gives the page what `sync`, `watch` and `cover` need."""
    run(client, SCRIPT)


def watch(client: viser.ClientHandle, port: int, path: str) -> None:
    """Lets the page open a sequence of pictures."""
    run(client, f"window.headsplat.watch({port}, {path!r});")


def cover(client: viser.ClientHandle, covered: bool) -> None:
    """Shows the pictures in front of the scene, or the scene."""
    run(client, f"window.headsplat.cover({'true' if covered else 'false'});")


def load_sound(client: viser.ClientHandle, url: str) -> None:
    """Gives the page its sound; none for an empty address."""
    clear = "h.audio.pause(); h.audio.removeAttribute('src');"
    run(client, "const h = window.headsplat;" + (f"h.audio.src = {url!r};" if url else clear))


def sync_sound(client: viser.ClientHandle, time: float, playing: bool, tolerance: float) -> None:
    """Sets the sound to a time in seconds, if it is further off than the tolerance, and plays or pauses it."""
    run(client, f"window.headsplat.sync({time:.4f}, {'true' if playing else 'false'}, {tolerance});")
