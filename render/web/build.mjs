// Builds dist/: the engine by AssemblyScript, the scripts by esbuild, the rest copied.
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { main as assemble } from "assemblyscript/asc";
import { build } from "esbuild";

const folder = process.argv[2] ?? "dist";
const scratch = await mkdtemp(join(tmpdir(), "headsplat-"));
const engine = join(scratch, "engine.wasm");
const flags = ["-O3", "--converge", "--noAssert", "--runtime", "stub", "--enable", "simd", "--outFile", engine];
const { error, stderr } = await assemble(["assembly/index.ts", ...flags], {});
if (error) {
  console.error(stderr.toString());
  process.exit(1);
}

await mkdir(folder, { recursive: true });
const engineAlias = { name: "engine", setup: (b) => b.onResolve({ filter: /^engine\.wasm$/ }, () => ({ path: engine })) };
const playerOutside = {
  name: "player",
  setup: (b) => b.onResolve({ filter: /\/index$/ }, () => ({ path: "./player.js", external: true })),
};
const common = { bundle: true, format: "esm", target: "es2022", minify: true, legalComments: "none", logLevel: "warning" };
await build({
  ...common, entryPoints: ["src/index.ts"], outfile: join(folder, "player.js"), loader: { ".wasm": "binary" },
  plugins: [engineAlias],
});
await build({ ...common, entryPoints: ["src/page/page.ts"], outfile: join(folder, "page.js"), plugins: [playerOutside] });
await build({ ...common, entryPoints: ["src/three-adapter.ts"], outfile: join(folder, "three-adapter.js") });
for (const name of ["index.html", "style.css", "local.js"]) await copyFile(join("src/page", name), join(folder, name));
await rm(scratch, { recursive: true });
