declare module "engine.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
