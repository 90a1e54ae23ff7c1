// Resamples sound that arrives in pieces, by a sinc filter with a Hann window.
const ZEROS = 24; // zero crossings of the filter on each side

export class Resampler {
  constructor(from, to) {
    this.ratio = from / to;
    this.cutoff = Math.min(1, 0.95 / this.ratio); // as a fraction of half the input rate
    this.reach = Math.ceil(ZEROS / this.cutoff);
    this.samples = new Float32Array(this.reach); // zeros before the sound
    this.at = this.reach; // position of the next output in `samples`
  }

  // Returns the outputs that the samples so far determine.
  read(piece) {
    if (this.ratio === 1) return piece;
    const samples = new Float32Array(this.samples.length + piece.length);
    samples.set(this.samples);
    samples.set(piece, this.samples.length);
    const outputs = [];
    for (; this.at + this.reach < samples.length; this.at += this.ratio) outputs.push(this.filter(samples));
    const first = Math.max(0, Math.floor(this.at) - this.reach);
    this.samples = samples.slice(first);
    this.at -= first;
    return Float32Array.from(outputs);
  }

  filter(samples) {
    let sum = 0;
    for (let i = Math.ceil(this.at - this.reach); i <= this.at + this.reach; i++) {
      const x = i - this.at;
      const t = Math.PI * this.cutoff * x;
      const sinc = t === 0 ? 1 : Math.sin(t) / t;
      sum += (samples[i] ?? 0) * sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / (this.reach + 1)));
    }
    return sum * this.cutoff;
  }
}
