// Spoken commands on the page: the words in a continuous sound, from the sample, a file or the microphone.
import { drawBars } from "./bars.js";
import { disableUnsupported, fetchBytes, openModel, report } from "./session.js";
import { decodeSound, openMicrophone, toggle } from "./sound.js";
import { Spotter } from "./spotter.js";

const page = document.getElementById("commands");
const part = (name) => page.querySelector(`[data-part="${name}"]`);
const PIECE = 4096; // samples of a file that are read before the page is drawn again
let spotter;

async function open() {
  spotter ??= new Spotter(await openModel("commands"));
  spotter.reset();
  part("words").replaceChildren();
  return spotter.rate;
}

function show({ windows, spots }) {
  if (windows.length) drawBars(part("classes"), spotter.classes, windows[windows.length - 1].probabilities, 5);
  for (const { label, seconds, probability } of spots) {
    const item = document.createElement("li");
    item.textContent = `${label} (until ${seconds.toFixed(1)} s, ${(100 * probability).toFixed(0)} %)`;
    part("words").prepend(item);
  }
}

async function find(bytes) {
  const rate = await open();
  const samples = await decodeSound(bytes, rate);
  const found = { windows: [], spots: [] };
  for (let at = 0; at < samples.length; at += PIECE) {
    const result = await spotter.read(samples.subarray(at, at + PIECE));
    show(result);
    found.windows.push(...result.windows);
    found.spots.push(...result.spots);
    await new Promise((resolve) => setTimeout(resolve)); // draws the page
  }
  const last = spotter.finish();
  show({ windows: [], spots: last });
  found.spots.push(...last);
  window.commandsFound = found; // for tests
  return `${found.spots.length} commands in ${(samples.length / rate).toFixed(1)} s of sound.`;
}

async function listen() {
  const rate = await open();
  const stop = await openMicrophone(rate, async (samples) => show(await spotter.read(samples)));
  return [stop, "Say a command in Arabic, such as those below."];
}

const status = part("status");
const run = (start) => report(status, "Loading the network and listening …", start);
part("sample").addEventListener("click", () => run(async () => find(await fetchBytes("models/commands.wav"))));
part("file").addEventListener("change", ({ target }) => run(async () => find(await target.files[0].arrayBuffer())));
toggle(part("microphone"), run, listen);
disableUnsupported(page, status);
