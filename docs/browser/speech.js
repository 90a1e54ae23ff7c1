// Spoken digits on the page, from the sample, a file or the microphone.
import { fetchBytes, openModel, report } from "./session.js";
import { Stream } from "./stream.js";

const page = document.getElementById("speech");
const part = (name) => page.querySelector(`[data-part="${name}"]`);
const SILENCE = 0.01; // root mean square of a piece of sound below which nobody speaks
let stream;
let stop;

async function open() {
  stream ??= new Stream(await openModel("digits"));
  return stream;
}

function show(probabilities) {
  const bars = stream.settings.classes.map((label, i) => {
    const row = document.createElement("div");
    const name = document.createElement("span");
    name.textContent = label;
    const bar = document.createElement("meter");
    bar.value = probabilities[i];
    row.append(name, bar, `${(100 * probabilities[i]).toFixed(0)} %`);
    return row;
  });
  part("classes").replaceChildren(...bars);
  return stream.settings.classes[probabilities.indexOf(Math.max(...probabilities))];
}

async function classify(bytes) {
  await open();
  const { rate } = stream.settings.front_end;
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes); // resamples to this rate
  stream.reset();
  const answers = await stream.read(sound.getChannelData(0));
  if (!answers.length) throw new Error("the sound is shorter than one window");
  window.speechProbabilities = answers; // for tests
  return `${show(answers.at(-1))}, after ${answers.length} steps (${sound.duration.toFixed(2)} s).`;
}

// Listens until it is stopped. After a pause, the network starts anew with the next word.
async function listen() {
  await open();
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext({ sampleRate: stream.settings.front_end.rate });
  await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
  const recorder = new AudioWorkletNode(context, "recorder");
  context.createMediaStreamSource(media).connect(recorder);
  let isSpeaking = false;
  let queue = Promise.resolve();
  const hear = async (samples) => {
    const loudness = Math.sqrt(samples.reduce((sum, v) => sum + v * v, 0) / samples.length);
    if (loudness < SILENCE) {
      isSpeaking = false;
      return;
    }
    if (!isSpeaking) stream.reset();
    isSpeaking = true;
    const answers = await stream.read(samples);
    if (answers.length) part("status").textContent = show(answers.at(-1));
  };
  recorder.port.onmessage = ({ data }) => (queue = queue.then(() => hear(data)));
  stop = () => {
    media.getTracks().forEach((track) => track.stop());
    context.close();
    stop = undefined;
    part("microphone").textContent = "Listen";
  };
  part("microphone").textContent = "Stop";
  return "Say a digit in English, from zero to nine.";
}

const status = part("status");
const loading = "Loading the network …";
part("sample").addEventListener("click", () => report(status, loading, async () => classify(await fetchBytes("models/seven.wav"))));
part("file").addEventListener("change", (event) => report(status, loading, async () => classify(await event.target.files[0].arrayBuffer())));
part("microphone").addEventListener("click", () => (stop ? stop() : report(status, loading, listen)));
