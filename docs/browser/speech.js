// Spoken digits on the page, from the sample, a file or the microphone.
import { drawBars } from "./bars.js";
import { disableUnsupported, fetchBytes, openModel, report } from "./session.js";
import { decodeSound, openMicrophone, toggle } from "./sound.js";
import { Stream } from "./stream.js";

const page = document.getElementById("speech");
const part = (name) => page.querySelector(`[data-part="${name}"]`);
const SILENCE = 0.01; // root mean square of a piece of sound below which nobody speaks
let stream;

async function open() {
  stream ??= new Stream(await openModel("digits"));
  stream.reset();
  return stream.settings.front_end.rate;
}

function show(probabilities) {
  drawBars(part("classes"), stream.settings.classes, probabilities);
  return stream.settings.classes[probabilities.indexOf(Math.max(...probabilities))];
}

async function classify(bytes) {
  const rate = await open();
  const samples = await decodeSound(bytes, rate);
  const answers = await stream.read(samples);
  if (!answers.length) throw new Error("the sound is shorter than one window");
  window.speechProbabilities = answers; // for tests
  return `${show(answers[answers.length - 1])}, after ${answers.length} steps (${(samples.length / rate).toFixed(2)} s).`;
}

// After a pause, the network starts anew with the next word.
async function listen() {
  const rate = await open();
  let isSpeaking = false;
  const stop = await openMicrophone(rate, async (samples) => {
    const wasSpeaking = isSpeaking;
    isSpeaking = Math.sqrt(samples.reduce((sum, v) => sum + v * v, 0) / samples.length) >= SILENCE;
    if (!isSpeaking) return;
    if (!wasSpeaking) stream.reset();
    const answers = await stream.read(samples);
    if (answers.length) part("status").textContent = show(answers[answers.length - 1]);
  });
  return [stop, "Say a digit in English, from zero to nine."];
}

const status = part("status");
const run = (start) => report(status, "Loading the network …", start);
part("sample").addEventListener("click", () => run(async () => classify(await fetchBytes("models/seven.wav"))));
part("file").addEventListener("change", ({ target }) => run(async () => classify(await target.files[0].arrayBuffer())));
toggle(part("microphone"), run, listen);
disableUnsupported(page, status);
