// Shows the classes with the highest probabilities as bars.
export function drawBars(element, classes, probabilities, count = classes.length) {
  const order = classes.map((_, i) => i);
  if (count < classes.length) order.sort((a, b) => probabilities[b] - probabilities[a]);
  const bars = order.slice(0, count).map((i) => {
    const row = document.createElement("div");
    const name = document.createElement("span");
    name.textContent = classes[i];
    const bar = document.createElement("meter");
    bar.value = probabilities[i];
    row.append(name, bar, `${(100 * probabilities[i]).toFixed(0)} %`);
    return row;
  });
  element.replaceChildren(...bars);
}
