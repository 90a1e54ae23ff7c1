// Draws a map of rain rates on a canvas: rates below the threshold are white, unknown pixels are grey.
const COLOURS = [
  [0.1, [204, 224, 245]], [0.5, [138, 180, 229]], [1, [77, 130, 203]], [2, [38, 84, 166]],
  [5, [120, 60, 160]], [10, [200, 50, 120]], [20, [235, 90, 60]], [40, [250, 190, 60]],
];

export function drawMap(canvas, values, { height, width }, threshold) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  values.forEach((rate, i) => image.data.set([...colour(rate, threshold), 255], 4 * i));
  context.putImageData(image, 0, 0);
}

function colour(rate, threshold) {
  if (Number.isNaN(rate)) return [190, 190, 190];
  if (rate < threshold) return [255, 255, 255];
  return (COLOURS.findLast(([lowest]) => rate >= lowest) ?? COLOURS[0])[1];
}

export function drawLegend(element) {
  element.replaceChildren(
    ...COLOURS.map(([lowest, rgb]) => {
      const entry = document.createElement("span");
      entry.style.borderLeft = `1.2em solid rgb(${rgb})`;
      entry.textContent = `${lowest}`;
      return entry;
    }),
    "mm/h",
  );
}
