// Drives the page in headless Chromium; each scenario's result or error goes to result.json.
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createReadStream, existsSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const modules = join(job.player, "node_modules");
const { chromium } = await import(pathToFileURL(join(modules, "playwright-core", "index.mjs")).href);

const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".json": "application/json", ".css": "text/css",
  ".mp3": "audio/mpeg", ".mjs": "text/javascript",
};
const roots = { "/modules/": modules, "/": job.root };
const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
  const prefix = Object.keys(roots).find((each) => path.startsWith(each));
  let file = join(roots[prefix], normalize(path.slice(prefix.length)));
  if (path.endsWith("/")) file = join(file, "index.html");
  if (path === "/blank.html") {
    response.writeHead(200, { "content-type": "text/html" });
    return response.end("<!doctype html><link rel=icon href='data:,'><body></body>");
  }
  if (!existsSync(file)) {
    response.writeHead(404);
    return response.end();
  }
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
  createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({
  executablePath: job.browser,
  args: [
    "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
  ],
});

/** A page that keeps what it logs and what it asks other servers for. */
async function open(path, { width = 1280, height = 800, before = null, ready = "window.avatar" } = {}) {
  const context = await browser.newContext({ viewport: { width, height } });
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) page.complaints.push(message.text());
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => {
    const url = request.url();
    if (!/^(data|blob):/.test(url) && !url.startsWith(origin)) page.complaints.push(`asked for ${url}`);
  });
  if (before) await before(page);
  await page.goto(origin + path);
  if (ready) await page.waitForFunction(ready, null, { timeout: 30_000 });
  return page;
}

async function save(name, base64) {
  await writeFile(join(job.output, name), Buffer.from(base64, "base64"));
}

/** In the page: an avatar of its own in a canvas of its own, and a way to read what was drawn. */
async function lab(page) {
  await page.evaluate(async (site) => {
    const player = await import(`${site}player.js`);
    const base64 = (bytes) => {
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      return btoa(text);
    };
    const made = async (renderer, size, workers) => {
      const avatar = await player.Avatar.load(site, { renderer, workers });
      const canvas = document.createElement("canvas");
      canvas.style.cssText = `position:fixed;left:0;top:0;width:${size}px;height:${size}px`;
      document.body.append(canvas);
      const copy = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
      const pixels = () => {
        copy.clearRect(0, 0, size, size);
        copy.drawImage(canvas, 0, 0);
        return copy.getImageData(0, 0, size, size).data;
      };
      avatar.attach(canvas, { width: size, height: size });
      return { avatar, canvas, pixels };
    };
    Object.assign(window, { lab: { player, base64, made } });
  }, job.site);
}

/** An emulated headset. */
async function headset(page) {
  await page.addInitScript({ path: join(modules, "iwer", "build", "iwer.min.js") });
  await page.addInitScript(() => {
    const { XRDevice, metaQuest3 } = window.IWER;
    window.device = new XRDevice(metaQuest3);
    device.installRuntime({ forceInstall: true });
  });
}

const scenarios = {
  /** The page with all its buttons, on a desk and on a phone: nothing overlaps, nothing is cut, nothing complains. */
  async looks() {
    const result = {};
    for (const [name, width, height] of [["desktop", 1280, 800], ["phone", 390, 844]]) {
      const page = await open("/camera/", { width, height, before: headset });
      await page.waitForSelector("#ar:not([hidden])");
      await page.waitForTimeout(100);
      await page.screenshot({ path: join(job.output, `${name}.png`) });
      await page.click("#face");
      await page.waitForTimeout(100);
      await page.screenshot({ path: join(job.output, `${name}-open.png`) });
      const boxes = await page.evaluate(() => {
        const shown = [...document.querySelectorAll("#stage, #panel, #bar, #bar button, #bar input, #bar output")];
        return shown.filter((each) => each.offsetParent !== null || each.id === "stage").map((each) => {
          const { left, top, right, bottom } = each.getBoundingClientRect();
          const cut = each.scrollWidth > each.clientWidth + 1 && each.tagName === "BUTTON";
          return { name: each.id, left, top, right, bottom, cut, font: parseFloat(getComputedStyle(each).fontSize) };
        });
      });
      const text = await page.evaluate(() => document.body.innerText);
      const scrolls = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      result[name] = { boxes, text, scrolls, complaints: page.complaints };
      await page.context().close();
    }
    return result;
  },

  /** Pictures of both renderers at the job's moments and camera. */
  async pictures() {
    const page = await open("/blank.html", { ready: null });
    await lab(page);
    for (const renderer of ["software", "webgl"]) {
      const pictures = await page.evaluate(async ({ renderer, moments, camera }) => {
        // Three workers share an odd number of rows of tiles unevenly.
        const { avatar, pixels } = await lab.made(renderer, camera.width, 3);
        avatar.paused = true;
        const playback = await avatar.play();
        playback.pause();
        const found = [];
        for (const moment of moments) {
          playback.seek(moment);
          let picture = null;
          avatar.onFrame = () => { picture = lab.base64(pixels()); };
          await avatar.draw(camera);
          found.push(picture);
        }
        avatar.dispose();
        return found;
      }, { renderer, moments: job.moments, camera: job.camera });
      for (const [index, picture] of pictures.entries()) await save(`${renderer}-${index}.bin`, picture);
    }
    return { complaints: page.complaints };
  },

  /** Plays by a click on the button: what is heard, and that the picture keeps its time. */
  async sound() {
    const page = await open(job.site, {
      before: (page) => page.addInitScript(() => {
        const connect = AudioNode.prototype.connect;
        AudioNode.prototype.connect = function (target, ...rest) {
          if (target instanceof AudioDestinationNode) {
            window.heard = new AnalyserNode(this.context, { fftSize: 32768 });
            connect.call(this, window.heard);
          }
          return connect.call(this, target, ...rest);
        };
      }),
    });
    await page.click("#play");
    await page.waitForFunction("window.avatar.playback?.time > 0.2", null, { timeout: 15_000 });
    const samples = [];
    // On a busy machine the sound itself comes in fits and starts.
    for (let i = 0; i < 60 && (i < 8 || samples.at(-1)[1] - samples[0][1] < 1); i++) {
      samples.push(await page.evaluate(() => [window.heard.context.currentTime, avatar.playback.time]));
      await page.waitForTimeout(150);
    }
    const loudest = await page.evaluate(() => {
      const values = new Float32Array(window.heard.fftSize);
      window.heard.getFloatTimeDomainData(values);
      return values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    });
    const decoded = await page.evaluate(async (site) => {
      const file = await (await fetch(`${site}sound.mp3`)).arrayBuffer();
      const sound = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(file);
      const values = sound.getChannelData(0).slice(0, 96000);
      let text = "";
      const bytes = new Uint8Array(values.buffer);
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      return btoa(text);
    }, job.site);
    await save("decoded.bin", decoded);
    await page.click("#play");
    const held = await page.evaluate(() => avatar.playback.time);
    await page.waitForTimeout(200);
    const still = await page.evaluate(() => avatar.playback.time);
    await page.evaluate(() => avatar.playback.seek(3));
    const sought = await page.evaluate(() => avatar.playback.time);
    const text = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(
      () => done(document.getElementById("clock").textContent)))));
    // A sound is heard once, and then the page rests; Play begins again.
    await page.evaluate(() => avatar.playback.seek(avatar.track.duration - 0.2));
    await page.click("#play");
    await page.waitForFunction("!avatar.playback.playing", null, { timeout: 5000 });
    const ended = await page.evaluate(() => avatar.playback.time);
    await page.click("#play");
    await page.waitForFunction("avatar.playback.playing && avatar.playback.time < 2", null, { timeout: 5000 });
    return { ended, samples, loudest, held, still, sought, text, complaints: page.complaints };
  },

  /** A slider moves the face, and Reset brings it back. */
  async sliders() {
    const page = await open(`${job.site}?renderer=software`);
    await page.click("#face");
    await page.waitForTimeout(600);
    const picture = () => page.evaluate(async () => {
      const canvas = document.getElementById("picture");
      await avatar.draw();
      window.copy ??= new OffscreenCanvas(256, 200).getContext("2d", { willReadFrequently: true });
      copy.clearRect(0, 0, 256, 200);
      copy.drawImage(canvas, 0, 0);
      return [...copy.getImageData(76, 40, 104, 120).data];
    });
    const apart = (a, b) => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;
    // Blinks come when they like.
    await page.evaluate(() => { const set = avatar.setOffsets.bind(avatar); avatar.setOffsets = (c, p) => set({ ...c, eyeBlinkLeft: 0, eyeBlinkRight: 0 }, p); avatar.setOffsets({}); });
    await page.evaluate(() => avatar.attach(document.getElementById("picture"), { width: 256, height: 200 }));
    const before = await picture();
    const slide = (text, value) => page.evaluate(([text, value]) => {
      const label = [...document.querySelectorAll(".slider")].find((each) => each.textContent === text);
      const input = label.querySelector("input");
      input.value = value;
      input.dispatchEvent(new Event("input"));
    }, [text, value]);
    await slide("Jaw open", 1);
    const opened = await picture();
    await page.click("#apart");
    await page.waitForTimeout(50);
    const count = await page.evaluate(() => document.querySelectorAll(".slider").length);
    await page.click("#reset");
    const after = await picture();
    const texts = await page.evaluate(() => [...document.querySelectorAll(".slider")].map((each) => each.textContent));
    await page.mouse.move(400, 300);
    await page.mouse.down();
    await page.mouse.move(520, 330, { steps: 4 });
    await page.mouse.up();
    const turned = await page.evaluate(() => [avatar.orbit.yaw, avatar.orbit.pitch]);
    await page.click("#front");
    const front = await page.evaluate(() => [avatar.orbit.yaw, avatar.orbit.pitch]);
    return { opened: apart(opened, before), after: apart(after, before), count, texts, turned, front, complaints: page.complaints };
  },

  /** Both eyes of an emulated headset. */
  async headset() {
    const page = await open("/blank.html", {
      ready: null, before: async (page) => {
        await headset(page);
        await page.addInitScript(() => {
          device.position.set(0.3, 1.55, 0.2);
          device.stereoEnabled = true;
          const gl = WebGL2RenderingContext.prototype;
          const { uniformMatrix4fv, viewport, drawElements } = gl;
          const now = [];
          window.eyes = {};
          gl.uniformMatrix4fv = function (place, transposed, values) {
            now.push([...values]);
            return uniformMatrix4fv.call(this, place, transposed, values);
          };
          gl.viewport = function (...box) {
            this.box = box;
            now.length = 0;
            return viewport.apply(this, box);
          };
          gl.drawElements = function (...rest) {
            drawElements.apply(this, rest);
            const [x, y, width, height] = this.box;
            const pixels = new Uint8Array(4 * width * height);
            if (window.capture) this.readPixels(x, y, width, height, this.RGBA, this.UNSIGNED_BYTE, pixels);
            window.eyes[x] = { view: now[0], projection: now[1], box: this.box, pixels };
          };
        });
      },
    });
    await lab(page);
    const eyes = await page.evaluate(async () => {
      const { avatar } = await lab.made("software", 64);
      const modes = await lab.player.supportedXR();
      let row = null, gaze = null;
      const splats = avatar.splats.bind(avatar);
      avatar.splats = (forward, eye, buffer) => {
        row = [...avatar.currentRow()];
        if (window.capture) gaze = avatar.currentGaze(row, eye);
        return splats(forward, eye, buffer);
      };
      const session = await lab.player.enterXR(avatar, "immersive-vr");
      let frames = 0;
      avatar.onFrame = () => { frames++; };
      const until = async (ready) => { while (!ready()) await new Promise((done) => setTimeout(done, 20)); };
      await until(() => frames > 1 && Object.keys(eyes).length > 1);
      window.capture = true;
      const seen = frames;
      await until(() => frames > seen + 2);
      const found = Object.values(eyes).map(({ view, projection, box, pixels }) => (
        { view, projection, box, pixels: lab.base64(pixels) }));
      // A pull of the trigger puts the avatar where the hand points: here to the right.
      window.capture = false;
      const right = device.controllers.right;
      right.position.set(0.3, 1.3, 0.2);
      right.quaternion.set(0, -Math.SQRT1_2, 0, Math.SQRT1_2);
      await until(() => session.inputSources.length > 0);
      for (const value of [1, 0]) {
        right.updateButtonValue("trigger", value);
        const now = frames;
        await until(() => frames > now + 2);
      }
      const moved = Object.values(eyes).map(({ view }) => view);
      await session.end();
      await avatar.draw();
      return { modes, found, row, gaze, moved };
    });
    for (const [index, eye] of eyes.found.entries()) {
      await save(`eye-${index}.bin`, eye.pixels);
      delete eye.pixels;
    }
    return { ...eyes, complaints: page.complaints };
  },

  /** Frames a second at 512 x 512 on the processor: the best of some seconds, since other work may run beside. */
  async speed() {
    const page = await open("/blank.html", { ready: null });
    await lab(page);
    return page.evaluate(async () => {
      const { avatar } = await lab.made("software", 512);
      await avatar.play();
      let frames = 0;
      avatar.onFrame = () => { frames++; };
      let best = 0;
      for (let i = 0; i < 6 && best < 25; i++) {
        const start = performance.now(), first = frames;
        await new Promise((done) => setTimeout(done, 1000));
        best = Math.max(best, (1000 * (frames - first)) / (performance.now() - start));
      }
      avatar.dispose();
      return { fps: best };
    });
  },

  /** What the page says of packages that cannot be shown. */
  async refusals() {
    const said = {};
    for (const site of job.broken) {
      const page = await open(site, { ready: "document.querySelector('#message.error')" });
      said[site] = await page.innerText("#message");
      const shown = await page.isVisible("#bar");
      if (shown) said[site] += " (and the bar)";
      await page.context().close();
    }
    return said;
  },

  /** Coefficients that come by WebSocket. */
  async live() {
    let connected = null;
    const sent = new Promise((done) => { connected = done; });
    const page = await open(`${job.site}?renderer=software&live=ws://127.0.0.1:9/live`, {
      before: (page) => page.routeWebSocket(/9\/live/, (socket) => connected(socket)),
    });
    const socket = await sent;
    socket.send(JSON.stringify({ coefficients: { jawOpen: 0.7 }, pose: { neck: [0, 0.1, 0] } }));
    await page.waitForFunction("avatar.currentRow()[24] > 0.6", null, { timeout: 5000 });
    const list = new Array(52).fill(0);
    list[43] = 0.5;
    socket.send(JSON.stringify(list));
    await page.waitForFunction("avatar.currentRow()[43] > 0.4", null, { timeout: 5000 });
    const jaw = await page.evaluate(() => avatar.currentRow()[24]);
    // The words of `avatar view --websocket`.
    const neck = () => page.evaluate(() => [...avatar.currentRow()].slice(55, 58).map((v, i) => v - avatar.manifest.neutral[55 + i]));
    socket.send(JSON.stringify({ weights: { jawOpen: 0.8, _neutral: 1 }, head: [20, 10, -15] }));
    await page.waitForFunction("avatar.currentRow()[24] > 0.7", null, { timeout: 5000 });
    const turned = await neck();
    socket.send(JSON.stringify({ jawOpen: 0.4 }));
    await page.waitForFunction("avatar.currentRow()[24] < 0.5", null, { timeout: 5000 });
    const straight = await neck();
    socket.send(JSON.stringify({ coefficients: { jawOpens: 1 } }));
    await page.waitForFunction("!document.getElementById('message').hidden", null, { timeout: 5000 });
    return { jaw, turned, straight, said: await page.innerText("#message"), complaints: page.complaints };
  },

  /** The example of a page of one's own. */
  async own() {
    const page = await open("/camera/own.html");
    await page.click("#smile");
    await page.waitForFunction("avatar.currentRow()[43] > 0.3", null, { timeout: 5000 });
    await page.waitForFunction("avatar.currentRow()[43] < 0.1", null, { timeout: 5000 });
    await page.click("#speak");
    await page.waitForFunction("avatar.playback?.time > 0.3", null, { timeout: 5000 });
    return { said: await page.innerText("#said"), complaints: page.complaints.filter((text) => !/404/.test(text)) };
  },

  /** The webcam drives the face until a track is played. */
  async webcam() {
    const page = await open("/camera/?renderer=software");
    const neutral = await page.evaluate(() => avatar.manifest.neutral[56]);
    await page.click("#webcam");
    await page.waitForFunction("avatar.currentRow()[24] > 0.5", null, { timeout: 10_000 });
    await page.waitForTimeout(800);
    const [jaw, turn] = await page.evaluate(() => [avatar.currentRow()[24], avatar.currentRow()[56]]);
    await page.click("#play");
    await page.waitForFunction("avatar.playback?.playing", null, { timeout: 5000 });
    await page.waitForTimeout(300);
    const playing = await page.evaluate(() => avatar.playback?.playing ?? false);
    const pressed = await page.getAttribute("#webcam", "aria-pressed");
    return { jaw, turn: turn - neutral, playing, pressed, complaints: page.complaints };
  },

  /** The API without the page, and the adapter in a scene of three.js. */
  async three() {
    const page = await open("/blank.html", { ready: null });
    await lab(page);
    const result = await page.evaluate(async (site) => {
      const THREE = await import("/modules/three/build/three.module.js");
      const { AvatarObject } = await import(`${site}three-adapter.js`);
      const { avatar } = await lab.made("software", 64);
      const renderer = new THREE.WebGLRenderer({ alpha: true, antialias: false, preserveDrawingBuffer: true });
      renderer.setSize(320, 320, false);
      const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(30, 1, 0.01, 10);
      camera.position.set(0, 0, 0.9);
      const object = new AvatarObject(THREE, avatar);
      scene.add(object.group);
      await object.update(camera);
      renderer.render(scene, camera);
      const gl = renderer.getContext();
      const pixels = new Uint8Array(4 * 320 * 320);
      gl.readPixels(0, 0, 320, 320, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      const picture = lab.base64(pixels), row = [...avatar.currentRow()];
      // A box before the face hides it.
      const box = new THREE.Mesh(new THREE.BoxGeometry(0.1, 0.1, 0.1), new THREE.MeshBasicMaterial({ color: 0x00ff00 }));
      box.position.set(0, 0, 0.3);
      scene.add(box);
      renderer.render(scene, camera);
      gl.readPixels(160, 160, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      const refused = [];
      for (const wrong of [[[1, 2]], [{ smile: 1 }], [{ jawOpen: NaN }], [undefined], [{}, { head: [0, 0, 0] }], [{}, { neck: [1] }]]) {
        try {
          avatar.setCoefficients(...wrong);
        } catch (error) {
          refused.push(String(error));
        }
      }
      const track = avatar.makeTrack([{ coefficients: { jawOpen: 0 } }, { coefficients: { jawOpen: 1 } }], 2);
      const playback = await avatar.play(track);
      playback.loop = false;
      playback.pause();
      playback.seek(0.25);
      const half = avatar.currentRow()[24];
      return { picture, row, box: [...pixels.slice(0, 3)], refused, half, error: gl.getError() };
    }, job.site);
    await save("three.bin", result.picture);
    delete result.picture;
    return { ...result, complaints: page.complaints };
  },
};

const result = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  if (job.only && !job.only.includes(name)) continue;
  const start = performance.now();
  try {
    result[name] = await scenario();
  } catch (error) {
    result[name] = { failed: String(error.stack ?? error) };
  }
  result[name].seconds = (performance.now() - start) / 1000;
  for (const context of browser.contexts()) await context.close();
}
await browser.close();
server.close();
result.output = job.output;
await writeFile(join(job.output, "result.json"), JSON.stringify(result));
