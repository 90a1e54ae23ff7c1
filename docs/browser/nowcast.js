// The nowcast on the page: frames from the sample or from dropped files, a forecast, and sliders for what is shown.
import { fetchBytes, openModel, report } from "./session.js";
import { readNpy } from "./npy.js";
import { cropForecast, fromArray, padFrames, readFrames } from "./radar.js";
import { drawLegend, drawMap } from "./map.js";

const page = document.getElementById("nowcast");
const part = (name) => page.querySelector(`[data-part="${name}"]`);
const THRESHOLDS = [0.1, 0.5, 1, 2, 5, 10, 20];
let model;
let shown; // { maps, inputs, height, width }: input and forecast frames

async function forecast(radar) {
  model ??= await openModel("nowcast");
  const { inputs, reduction } = model.settings;
  const size = radar.height * radar.width;
  const padding = padFrames(radar, inputs, reduction);
  const shape = [1, inputs, 1, padding.rows, padding.columns];
  const start = performance.now();
  const { output } = await model.session.run({ input: new model.ort.Tensor("float32", padding.padded, shape) });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const observed = radar.frames.subarray(radar.frames.length - inputs * size);
  const rates = cropForecast(output.data, padding, observed.subarray(-size), radar);
  const maps = new Float32Array(observed.length + rates.length);
  maps.set(observed);
  maps.set(rates, observed.length);
  shown = { maps, inputs, forecast: rates, height: radar.height, width: radar.width };
  part("time").max = maps.length / size - inputs;
  part("time").min = 1 - inputs;
  part("time").value = 1;
  show();
  window.nowcastForecast = rates; // for tests
  return `${rates.length / size} maps of ${radar.height} × ${radar.width} pixels, forecast in ${seconds} s.`;
}

function show() {
  if (!shown) return;
  const step = Number(part("time").value);
  const minutes = step * model.settings.step;
  const threshold = THRESHOLDS[part("threshold").value];
  const size = shown.height * shown.width;
  const at = (step + shown.inputs - 1) * size;
  const values = shown.maps.subarray(at, at + size);
  drawMap(part("map"), values, shown, threshold);
  const known = values.filter((v) => !Number.isNaN(v));
  const share = (100 * known.filter((v) => v >= threshold).length) / Math.max(known.length, 1);
  part("time-label").textContent = step > 0 ? `forecast, ${minutes} min ahead` : `observed, ${-minutes} min ago`;
  part("threshold-label").textContent = `${threshold} mm/h or more: ${share.toFixed(1)} % of the map`;
}

async function fromSample() {
  return forecast(fromArray(readNpy(await fetchBytes("models/radar.npy"))));
}

const status = part("status");
const fromFiles = (files) =>
  report(status, "Reading and forecasting …", async () => forecast(await readFrames(files, Number(part("scale").value))));
part("sample").addEventListener("click", () => report(status, "Loading the network (17 MB) and forecasting …", fromSample));
part("files").addEventListener("change", (event) => fromFiles(event.target.files));
part("time").addEventListener("input", show);
part("threshold").addEventListener("input", show);
part("drop").addEventListener("dragover", (event) => event.preventDefault());
part("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  fromFiles(event.dataTransfer.files);
});
drawLegend(part("legend"));
