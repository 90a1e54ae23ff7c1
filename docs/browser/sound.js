// Samples of a file or of the microphone, at the rate of a network.
import { Resampler } from "./resample.js";

export async function decodeSound(bytes, rate) {
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes); // resamples to this rate
  return sound.getChannelData(0);
}

// Calls `hear` with each piece of sound, one after the other. Returns a function that stops the microphone.
export async function openMicrophone(rate, hear) {
  if (!navigator.mediaDevices) throw new Error("the microphone needs a page that is loaded by HTTPS");
  const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext(); // Firefox connects a microphone only at the rate of the device
  await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
  const recorder = new AudioWorkletNode(context, "recorder");
  const resampler = new Resampler(context.sampleRate, rate);
  let queue = Promise.resolve();
  recorder.port.onmessage = ({ data }) => (queue = queue.then(() => hear(resampler.read(data))));
  context.createMediaStreamSource(media).connect(recorder);
  await context.resume(); // Safari starts it suspended
  return () => {
    media.getTracks().forEach((track) => track.stop());
    context.close();
  };
}

// Makes a button that starts and stops listening: `start` returns a function that stops.
export function toggle(button, report, start) {
  let stop;
  button.addEventListener("click", () => {
    if (stop) {
      stop();
      stop = undefined;
      button.textContent = "Listen";
      return;
    }
    report(async () => {
      const [end, text] = await start();
      stop = end;
      button.textContent = "Stop";
      return text;
    });
  });
}
