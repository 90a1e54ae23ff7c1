// Audio worklet: passes the samples of the microphone on to the page, in pieces of about a tenth of a second.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.pieces = [];
    this.count = 0;
  }

  process([[samples]]) {
    if (!samples) return true;
    this.pieces.push(samples.slice());
    this.count += samples.length;
    if (this.count >= sampleRate / 10) {
      const piece = new Float32Array(this.count);
      let at = 0;
      for (const part of this.pieces) {
        piece.set(part, at);
        at += part.length;
      }
      this.port.postMessage(piece);
      this.pieces = [];
      this.count = 0;
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
