// Loads onnxruntime-web and a model. Everything comes from this site: no other server is asked.
const here = new URL(".", import.meta.url);

export async function openModel(name) {
  if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly");
  const ort = await import(new URL("vendor/ort.wasm.min.mjs", here));
  ort.env.wasm.wasmPaths = new URL("vendor/", here).href;
  ort.env.wasm.numThreads = 1; // more need headers that static sites do not send
  const session = await ort.InferenceSession.create(new URL(`models/${name}.onnx`, here).href);
  const settings = await fetchJson(`models/${name}.json`);
  return { ort, session, settings };
}

export async function fetchBytes(path) {
  const response = await fetch(new URL(path, here));
  if (!response.ok) throw new Error(`${path} is not part of this copy of the site (${response.status})`);
  return response.arrayBuffer();
}

async function fetchJson(path) {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(path)));
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
