// Loads onnxruntime-web and a model. Everything comes from this site: no other server is asked.
const here = new URL(".", import.meta.url);
// A module with one vector instruction, which browsers without WebAssembly SIMD reject.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
export const UNSUPPORTED =
  "This browser cannot run the networks. It needs WebAssembly SIMD: Chrome or Edge 92, Firefox 90, Safari 16.4, or newer.";

export function isSupported() {
  return typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.from(SIMD));
}

// Disables the controls of a part of the page and says why, if the browser cannot run networks.
export function disableUnsupported(page, status) {
  if (isSupported()) return;
  status.textContent = UNSUPPORTED;
  page.querySelectorAll("button, input").forEach((control) => (control.disabled = true));
}

export async function openModel(name) {
  if (!isSupported()) throw new Error(UNSUPPORTED);
  const settings = JSON.parse(new TextDecoder().decode(await fetchBytes(`models/${name}.json`)));
  const ort = await import(new URL("vendor/ort.wasm.min.mjs", here));
  ort.env.wasm.wasmPaths = new URL("vendor/", here).href;
  ort.env.wasm.numThreads = 1; // more need headers that static sites do not send
  const session = await ort.InferenceSession.create(new URL(`models/${name}.onnx`, here).href);
  return { ort, session, settings };
}

export async function fetchBytes(path) {
  const response = await fetch(new URL(path, here));
  if (!response.ok) throw new Error(`${path} is not part of this copy of the site (${response.status})`);
  return response.arrayBuffer();
}

// Runs a function of the page, shows what it does in the element `status`, and its error if it fails.
export async function report(status, text, run) {
  status.textContent = text;
  await new Promise((resolve) => setTimeout(resolve, 20)); // lets the browser show the text
  try {
    status.textContent = (await run()) ?? "";
  } catch (error) {
    status.textContent = `It failed: ${error.message}.`;
  }
}
