// The log-mel spectrogram of convrnn_zoo.LogMel, from samples between -1 and 1: one Float32Array of bands per step.
export class LogMel {
  constructor({ rate, window, hop, bands, lowest, highest, floor }) {
    Object.assign(this, { rate, bands, floor, size: Math.round(window * rate), step: Math.round(hop * rate) });
    this.points = 2 ** (Math.ceil(Math.log2(this.size)) + 1);
    this.hann = Float64Array.from({ length: this.size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / this.size));
    this.filters = this.triangles(lowest, highest ?? rate / 2);
  }

  // Triangular filters that are equally wide on the mel scale, each with a sum of 1.
  triangles(lowest, highest) {
    const [low, high] = [lowest, highest].map((f) => 2595 * Math.log10(1 + f / 700));
    const edge = (i) => 700 * (10 ** ((low + ((high - low) * i) / (this.bands + 1)) / 2595) - 1);
    return Array.from({ length: this.bands }, (_, band) => {
      const [left, middle, right] = [edge(band), edge(band + 1), edge(band + 2)];
      const weights = Float64Array.from({ length: this.points / 2 + 1 }, (_, k) => {
        const f = (k * this.rate) / this.points;
        return Math.max(0, Math.min((f - left) / (middle - left), (right - f) / (right - middle)));
      });
      const sum = weights.reduce((a, b) => a + b);
      return weights.map((w) => w / sum);
    });
  }

  // Returns the steps of all complete windows, and the samples that the next piece starts with.
  encode(wave) {
    const steps = [];
    let at = 0;
    for (; at + this.size <= wave.length; at += this.step) steps.push(this.encodeWindow(wave.subarray(at, at + this.size)));
    return { steps, rest: wave.slice(at) };
  }

  encodeWindow(samples) {
    const re = new Float64Array(this.points);
    const im = new Float64Array(this.points);
    samples.forEach((value, i) => (re[i] = value * this.hann[i]));
    transform(re, im);
    const power = Float64Array.from({ length: this.points / 2 + 1 }, (_, k) => re[k] ** 2 + im[k] ** 2);
    return Float32Array.from(this.filters, (weights) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * power[k];
      return Math.log(Math.max(this.floor, sum));
    });
  }
}

// Fourier transform in place, of a length that is a power of two (Cooley and Tukey 1965).
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let length = 2; length <= n; length *= 2) {
    for (let k = 0; k < length / 2; k++) {
      const [c, s] = [Math.cos((-2 * Math.PI * k) / length), Math.sin((-2 * Math.PI * k) / length)];
      for (let i = k; i < n; i += length) {
        const j = i + length / 2;
        const [x, y] = [re[j] * c - im[j] * s, re[j] * s + im[j] * c];
        [re[j], im[j]] = [re[i] - x, im[i] - y];
        re[i] += x;
        im[i] += y;
      }
    }
  }
}
