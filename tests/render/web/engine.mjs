// Runs the shipped player's engine in node: Gaussians and a picture for each row of the job.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const player = await import(pathToFileURL(join(job.player, "dist", "player.js")).href);
const result = {};

async function load(folder) {
  const manifest = player.parseManifest(await readFile(join(folder, "avatar.json"), "utf8"));
  const stored = await readFile(join(folder, "avatar.bin"));
  const bytes = stored.buffer.slice(stored.byteOffset, stored.byteOffset + stored.length);
  return player.Engine.create({ manifest, data: await player.checkedData(manifest, bytes) });
}

if (job.rows) {
  const engine = await load(job.folder);
  for (const [index, row] of job.rows.entries()) {
    engine.deform(Float32Array.from(row));
    await writeFile(join(job.output, `world-${index}.bin`), engine.world());
    await writeFile(join(job.output, `sorted-${index}.bin`), engine.sorted([0, 0, -1]));
    await writeFile(join(job.output, `picture-${index}.bin`), engine.draw(job.camera));
  }
  // A picture of another size, and back: the memory that it takes grows and is used again.
  engine.draw({ ...job.camera, width: 700, height: 300 });
  const again = engine.draw(job.camera);
  result.same = Buffer.compare(Buffer.from(again), await readFile(join(job.output, `picture-${job.rows.length - 1}.bin`))) === 0;
}

if (job.rounds) {
  const engine = await load(job.folder);
  const row = Float32Array.from(job.rows[0]);
  const quickest = (work) => {
    const took = [];
    for (let i = 0; i < job.rounds; i++) {
      const start = performance.now();
      work();
      took.push(performance.now() - start);
    }
    return Math.min(...took);
  };
  result.milliseconds = { deform: quickest(() => engine.deform(row)), sort: quickest(() => engine.sorted([0, 0, -1])) };
  const { camera } = job;
  for (const scale of [1, 2]) {
    const lens = Object.fromEntries(["fx", "fy", "cx", "cy", "width", "height"].map((key) => [key, scale * camera[key]]));
    result.milliseconds[`draw ${lens.width}`] = quickest(() => engine.draw({ ...camera, ...lens }));
  }
}

result.refused = [];
for (const folder of job.broken ?? []) {
  try {
    await load(folder);
    result.refused.push(null);
  } catch (error) {
    result.refused.push(`${error.name}: ${error.message}`);
  }
}
result.output = job.output;
await writeFile(join(job.output, "result.json"), JSON.stringify(result));
