// Turns dropped files into frames { frames, height, width }: Float32Array (T, H, W) of rain rates in mm/h, NaN where unknown.
import { readNpy } from "./npy.js";

// `scale` is the rain rate of white in images, in mm/h; black is 0, and transparent pixels are unknown.
export async function readFrames(files, scale) {
  const sorted = [...files].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const parts = [];
  for (const file of sorted) {
    parts.push(file.name.endsWith(".npy") ? fromArray(readNpy(await file.arrayBuffer())) : await fromImage(file, scale));
  }
  if (!parts.length) throw new Error("no file was chosen");
  const { height, width } = parts[0];
  if (parts.some((p) => p.height !== height || p.width !== width)) throw new Error("the files have maps of several sizes");
  const frames = new Float32Array(parts.reduce((n, p) => n + p.frames.length, 0));
  let at = 0;
  for (const part of parts) {
    frames.set(part.frames, at);
    at += part.frames.length;
  }
  return { frames, height, width };
}

export function fromArray({ shape, data }) {
  if (shape.length !== 2 && shape.length !== 3) throw new Error(`expected maps (T, H, W), got (${shape.join(", ")})`);
  const [height, width] = shape.slice(-2);
  return { frames: data, height, width };
}

async function fromImage(file, scale) {
  const image = await createImageBitmap(file);
  const { width, height } = image;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const frames = Float32Array.from({ length: width * height }, (_, i) => {
    const [r, g, b, alpha] = pixels.subarray(4 * i, 4 * i + 4);
    return alpha ? ((r + g + b) / 3 / 255) * scale : NaN;
  });
  return { frames, height, width };
}

// Selects the last `count` frames, and appends rows and columns of NaN up to multiples of `edge`.
export function padFrames({ frames, height, width }, count, edge) {
  const total = frames.length / (height * width);
  if (total < count) throw new Error(`expected at least ${count} maps, got ${total}`);
  const rows = Math.ceil(height / edge) * edge;
  const columns = Math.ceil(width / edge) * edge;
  const padded = new Float32Array(count * rows * columns).fill(NaN);
  for (let t = 0; t < count; t++) {
    for (let y = 0; y < height; y++) {
      const from = ((total - count + t) * height + y) * width;
      padded.set(frames.subarray(from, from + width), (t * rows + y) * columns);
    }
  }
  return { padded, rows, columns };
}

// Crops forecasts (T, rows, columns) to maps of height × width; unknown pixels of the last input are NaN again.
export function cropForecast(values, { rows, columns }, last, { height, width }) {
  const steps = values.length / (rows * columns);
  const maps = new Float32Array(steps * height * width);
  for (let t = 0; t < steps; t++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const isKnown = !Number.isNaN(last[y * width + x]);
        maps[(t * height + y) * width + x] = isKnown ? values[(t * rows + y) * columns + x] : NaN;
      }
    }
  }
  return maps;
}
