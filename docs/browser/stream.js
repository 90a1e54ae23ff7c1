// A classifier of sound that reads step by step: the states of the network go from one call to the next.
// `count` streams read the same steps in one batch, each from the step after its last reset on.
import { LogMel } from "./logmel.js";

export class Stream {
  constructor({ ort, session, settings }, count = 1) {
    Object.assign(this, { ort, session, settings, count, frontEnd: new LogMel(settings.front_end) });
    this.reset();
  }

  reset() {
    this.rest = new Float32Array(0);
    this.state = {};
    for (const [name, { shape, type }] of Object.entries(this.settings.states)) {
      const size = this.count * shape.slice(1).reduce((a, b) => a * b, 1);
      const values = new (type === "int64" ? BigInt64Array : Float32Array)(size);
      this.state[name] = new this.ort.Tensor(type, values, [this.count, ...shape.slice(1)]);
    }
  }

  // Sets the states of one stream to zero.
  resetRow(row) {
    for (const { data } of Object.values(this.state)) {
      const size = data.length / this.count;
      data.fill(data instanceof BigInt64Array ? 0n : 0, row * size, (row + 1) * size);
    }
  }

  // Returns the steps of the samples, which continue those of the last call.
  encode(samples) {
    const wave = new Float32Array(this.rest.length + samples.length);
    wave.set(this.rest);
    wave.set(samples, this.rest.length);
    const { steps, rest } = this.frontEnd.encode(wave);
    this.rest = rest;
    return steps;
  }

  // Reads samples, and returns the probabilities of the classes after each step.
  async read(samples) {
    const answers = [];
    for (const step of this.encode(samples)) answers.push((await this.advance(step))[0]);
    return answers;
  }

  // Reads one step, and returns the probabilities of the classes in each stream.
  async advance(step) {
    const { mean, std } = this.settings;
    const batch = new Float32Array(this.count * step.length);
    for (let i = 0; i < batch.length; i++) {
      const band = i % step.length;
      batch[i] = (step[band] - mean[band % mean.length]) / std[band % std.length];
    }
    const input = new this.ort.Tensor("float32", batch, [this.count, step.length, 1]);
    const outputs = await this.session.run({ input, ...this.state });
    for (const name of Object.keys(this.state)) this.state[name] = outputs[name.replace(/_in$/, "_out")];
    const classes = outputs.output.data.length / this.count;
    const rows = Array.from({ length: this.count }, (_, i) => i * classes);
    return rows.map((start) => softmax(outputs.output.data.subarray(start, start + classes)));
  }
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (v) => Math.exp(v - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((p) => p / sum);
}
