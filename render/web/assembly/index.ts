export { measure, place, resolve } from "./deform";
export { gather, sort } from "./order";
export { project, raster } from "./raster";

/** The first byte that the caller may use. */
export function freeMemory(): usize {
  return __heap_base;
}
