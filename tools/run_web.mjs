// Runs an ONNX file in onnxruntime-web: a line of JSON with the inputs in, a line with the outputs and the time out.
// `node run_web.mjs VENDOR FILE`; a tensor is { type, dims, data }, with its bytes in base64.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const [vendor, file] = process.argv.slice(2);
const ort = await import(pathToFileURL(path.join(vendor, "ort.wasm.min.mjs")));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(file)));
const ARRAYS = { float32: Float32Array, int64: BigInt64Array, bool: Uint8Array };

for await (const line of readline.createInterface({ input: process.stdin })) {
  const feeds = {};
  for (const [name, { type, dims, data }] of Object.entries(JSON.parse(line))) {
    const bytes = Uint8Array.from(Buffer.from(data, "base64"));
    feeds[name] = new ort.Tensor(type, new ARRAYS[type](bytes.buffer), dims);
  }
  const start = performance.now();
  const results = await session.run(feeds);
  const ms = performance.now() - start;
  const outputs = session.outputNames.map((name) => {
    const { type, dims, data } = results[name];
    return { type, dims, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64") };
  });
  console.log(JSON.stringify({ outputs, ms }));
}
