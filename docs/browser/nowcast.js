// The nowcast on the page: frames from the sample or from dropped files, a forecast, and sliders for what is shown.
import { disableUnsupported, fetchBytes, isSupported, openModel, report } from "./session.js";
import { readNpy } from "./npy.js";
import { cropForecast, fromArray, padFrames, readFrames } from "./radar.js";
import { PROBABILITIES, RATES, drawLegend, drawMap } from "./map.js";

const page = document.getElementById("nowcast");
const part = (name) => page.querySelector(`[data-part="${name}"]`);
let model;
let shown; // { observed, rates, probabilities, height, width }: maps one after the other

let running = Promise.resolve(); // a session runs one forecast at a time

function forecast(radar) {
  running = running.catch(() => {}).then(() => run(radar));
  return running;
}

async function run(radar) {
  model ??= await openModel("nowcast");
  const { inputs, reduction, thresholds } = model.settings;
  const size = radar.height * radar.width;
  const padding = padFrames(radar, inputs, reduction);
  const shape = [1, inputs, 1, padding.rows, padding.columns];
  const start = performance.now();
  const outputs = await model.session.run({ input: new model.ort.Tensor("float32", padding.padded, shape) });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const observed = radar.frames.subarray(radar.frames.length - inputs * size);
  const crop = ({ data }) => cropForecast(data, padding, observed.subarray(-size), radar);
  const rates = crop(outputs.output);
  shown = { observed, rates, probabilities: crop(outputs.probabilities), height: radar.height, width: radar.width };
  part("time").max = rates.length / size;
  part("time").min = 1 - inputs;
  part("time").value = 1;
  part("threshold").max = thresholds.length;
  show();
  window.nowcastForecast = shown; // for tests
  return `${rates.length / size} maps of ${radar.height} × ${radar.width} pixels, forecast in ${seconds} s.`;
}

// Returns the map of a step (0 is the last observed frame): rain rates, or for a threshold the probability to reach it.
function select(step, index) {
  const { thresholds, inputs } = model.settings;
  const size = shown.height * shown.width;
  const at = (maps, i) => maps.subarray(i * size, (i + 1) * size);
  if (step > 0 && index < 0) return at(shown.rates, step - 1);
  if (step > 0) return at(shown.probabilities, (step - 1) * thresholds.length + index);
  const rates = at(shown.observed, step + inputs - 1);
  return index < 0 ? rates : rates.map((v) => (Number.isNaN(v) ? NaN : Number(v >= thresholds[index])));
}

function show() {
  if (!shown) return;
  const step = Number(part("time").value);
  const index = part("threshold").value - 1;
  const scale = index < 0 ? RATES : PROBABILITIES;
  const minutes = step * model.settings.step;
  part("map").hidden = false;
  drawMap(part("map"), select(step, index), shown, scale);
  drawLegend(part("legend"), scale);
  const rate = model.settings.thresholds[index];
  part("time-label").textContent = step > 0 ? `Forecast, ${minutes} min ahead` : `Observed, ${-minutes} min ago`;
  part("threshold-label").textContent = index < 0 ? "Shown: rain rate" : `Shown: probability of ${rate} mm/h or more`;
}

const readSample = async () => fromArray(readNpy(await fetchBytes("models/radar.npy")));
const fromSample = async () => forecast(await readSample());

// Shows the last frame of the sample, and then its forecast unless the browser saves data.
async function begin() {
  const radar = await readSample();
  if (shown) return;
  part("map").hidden = false;
  drawMap(part("map"), radar.frames.subarray(-radar.height * radar.width), radar, RATES);
  part("time-label").textContent = "Observed, the last image of the sample";
  part("time").value = 0;
  if (isSupported() && !navigator.connection?.saveData) part("sample").click();
}

const status = part("status");
const fromFiles = (files) =>
  report(status, "Reading and forecasting …", async () => forecast(await readFrames(files, Number(part("scale").value))));
part("sample").addEventListener("click", () => report(status, "Loading the network (14 MB) and forecasting …", fromSample));
part("files").addEventListener("change", (event) => fromFiles(event.target.files));
part("time").addEventListener("input", show);
part("threshold").addEventListener("input", show);
part("drop").addEventListener("dragover", (event) => event.preventDefault());
part("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  fromFiles(event.dataTransfer.files);
});
drawLegend(part("legend"), RATES);
disableUnsupported(page, status);
begin().catch(() => {}); // a copy of the site without the networks says so when a button is pressed
