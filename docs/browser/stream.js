// A classifier of sound that reads step by step: the states of the network go from one call to the next.
import { LogMel } from "./logmel.js";

export class Stream {
  constructor({ ort, session, settings }) {
    Object.assign(this, { ort, session, settings, frontEnd: new LogMel(settings.front_end) });
    this.reset();
  }

  reset() {
    this.rest = new Float32Array(0);
    this.state = {};
    for (const [name, { shape, type }] of Object.entries(this.settings.states)) {
      const values = new (type === "int64" ? BigInt64Array : Float32Array)(shape.reduce((a, b) => a * b, 1));
      this.state[name] = new this.ort.Tensor(type, values, shape);
    }
  }

  // Reads samples, and returns the probabilities of the classes after each step.
  async read(samples) {
    const wave = new Float32Array(this.rest.length + samples.length);
    wave.set(this.rest);
    wave.set(samples, this.rest.length);
    const { steps, rest } = this.frontEnd.encode(wave);
    this.rest = rest;
    const answers = [];
    for (const step of steps) answers.push(await this.advance(step));
    return answers;
  }

  async advance(step) {
    const { mean, std } = this.settings;
    const values = step.map((v, i) => (v - mean[i % mean.length]) / std[i % std.length]);
    const input = new this.ort.Tensor("float32", values, [1, step.length, 1]);
    const outputs = await this.session.run({ input, ...this.state });
    for (const name of Object.keys(this.state)) this.state[name] = outputs[name.replace(/_in$/, "_out")];
    return softmax(outputs.output.data);
  }
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (v) => Math.exp(v - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((p) => p / sum);
}
