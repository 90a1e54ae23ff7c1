// Reads arrays of NumPy's format .npy as { shape, data }, data being a Float32Array in C order.
const READERS = {
  f2: (view, at) => half(view.getUint16(at, true)),
  f4: (view, at) => view.getFloat32(at, true),
  f8: (view, at) => view.getFloat64(at, true),
  u1: (view, at) => view.getUint8(at),
  u2: (view, at) => view.getUint16(at, true),
  i2: (view, at) => view.getInt16(at, true),
  i4: (view, at) => view.getInt32(at, true),
};

export function readNpy(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0) !== 0x934e554d) throw new Error("this is no .npy file");
  const isLong = view.getUint8(6) > 1;
  const start = isLong ? 12 : 10;
  const end = start + (isLong ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, end - start));
  const type = /'descr': '[<|]([a-z]\d)'/.exec(header)?.[1];
  if (!READERS[type] || /'fortran_order': True/.test(header)) throw new Error(`arrays of this kind are not read: ${header.trim()}`);
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").filter((n) => n.trim()).map(Number);
  const count = shape.reduce((a, b) => a * b, 1);
  const size = Number(type[1]);
  if (end + count * size > buffer.byteLength) throw new Error("the file ends before the array does");
  const data = Float32Array.from({ length: count }, (_, i) => READERS[type](view, end + i * size));
  return { shape, data };
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
}
