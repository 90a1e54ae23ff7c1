// Finds words in continuous sound, as convrnn_zoo.Spotter does: overlapping windows of one second, read as a batch.
import { Stream } from "./stream.js";

export class Spotter {
  constructor(model, { windows = 10, seconds = 1 } = {}) {
    const { front_end: frontEnd, threshold, classes } = model.settings;
    this.stream = new Stream(model, windows);
    const { size, step } = this.stream.frontEnd;
    this.stride = Math.max(1, Math.round(seconds / frontEnd.hop / windows));
    Object.assign(this, { windows, threshold, classes, rate: frontEnd.rate, size, step });
    this.half = (windows * this.stride * frontEnd.hop) / 2;
    this.reset();
  }

  reset() {
    this.stream.reset();
    this.steps = 0;
    this.lengths = new Array(this.windows).fill(0);
    this.best = undefined;
    this.until = this.resume = 0;
  }

  // Reads samples. Returns the windows that ended, { seconds, probabilities }, and the words whose search ended.
  async read(samples) {
    const windows = [];
    const spots = [];
    for (const step of this.stream.encode(samples)) {
      const probabilities = await this.stream.advance(step);
      this.lengths = this.lengths.map((n) => n + 1);
      this.steps += 1;
      if (this.steps % this.stride) continue;
      const ended = (this.steps / this.stride) % this.windows;
      if (this.lengths[ended] === this.windows * this.stride) {
        const seconds = ((this.steps - 1) * this.step + this.size) / this.rate;
        windows.push({ seconds, probabilities: probabilities[ended] });
        spots.push(...this.decide(seconds, probabilities[ended]));
      }
      this.stream.resetRow(ended);
      this.lengths[ended] = 0;
    }
    return { windows, spots };
  }

  decide(seconds, probabilities) {
    const spots = [];
    if (this.best && seconds > this.until) {
      spots.push(this.best);
      this.resume = this.best.seconds + this.half;
      this.best = undefined;
    }
    const probability = Math.max(...probabilities);
    const spot = { seconds, label: this.classes[probabilities.indexOf(probability)], probability };
    if (this.best) {
      if (probability > this.best.probability) this.best = spot;
    } else if (probability >= this.threshold && seconds > this.resume) {
      this.best = spot;
      this.until = seconds + this.half;
    }
    return spots;
  }

  // Returns the word whose search has not ended at the end of the sound.
  finish() {
    const spots = this.best ? [this.best] : [];
    this.reset();
    return spots;
  }
}
