// Draws a map on a canvas: rain rates in mm/h, or probabilities from 0 to 1. Unknown pixels are grey.
export const RATES = {
  unit: "mm/h",
  classes: [
    [0.1, [204, 224, 245]], [0.5, [138, 180, 229]], [1, [77, 130, 203]], [2, [38, 84, 166]],
    [5, [120, 60, 160]], [10, [200, 50, 120]], [20, [235, 90, 60]], [40, [250, 190, 60]],
  ],
  label: (lowest) => `${lowest}`,
};
export const PROBABILITIES = {
  unit: "probability",
  classes: [
    [0.05, [229, 236, 220]], [0.2, [183, 214, 163]], [0.4, [120, 184, 122]], [0.6, [56, 145, 96]], [0.8, [14, 92, 70]],
  ],
  label: (lowest) => `${Math.round(100 * lowest)} %`,
};

export function drawMap(canvas, values, { height, width }, { classes }) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  values.forEach((value, i) => image.data.set([...colour(value, classes), 255], 4 * i));
  context.putImageData(image, 0, 0);
}

function colour(value, classes) {
  if (Number.isNaN(value)) return [190, 190, 190];
  const reached = classes.filter(([lowest]) => value >= lowest);
  return reached.length ? reached[reached.length - 1][1] : [255, 255, 255];
}

export function drawLegend(element, { classes, unit, label }) {
  element.replaceChildren(
    ...classes.map(([lowest, rgb]) => {
      const entry = document.createElement("span");
      entry.style.borderLeft = `1.2em solid rgb(${rgb})`;
      entry.textContent = label(lowest);
      return entry;
    }),
    unit,
  );
}
