// Charts as SVG. Each takes plain data and returns an element; colours are CSS variables, so themes apply.

function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw) || power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9 * step; tick += step) ticks.push(tick);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + (step / power === 2.5 ? -1 : 0) + 1e-9)) };
}

// As wide as the column that it will stand in, so that letters are drawn at their true size.
function chartWidth(columns) {
  const room = document.getElementById("main").clientWidth || 1140;
  const fitting = Math.max(1, Math.min(columns, Math.floor((room + 22) / (columns === 3 ? 362 : 482))));
  return Math.max(260, Math.min(720, (room - 22 * (fitting - 1)) / fitting));
}

function tickText(value, digits) {
  if (value === 0) return "0";
  return Math.abs(value) < 1e-3 ? value.toExponential(1).replace(".0", "") : value.toFixed(Math.min(digits, 6));
}

function frame(box, x, y, labels) {
  const parts = [];
  const xTicks = niceTicks(x.low, x.high, Math.min(8, Math.floor(box.width / 60)));
  const yTicks = niceTicks(y.low, y.high, 5);
  for (const tick of yTicks.ticks) {
    parts.push(drawn("line", { class: "gridline", x1: box.left, x2: box.left + box.width, y1: y.at(tick), y2: y.at(tick) }));
    parts.push(drawn("text", { class: "axis", x: box.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, tickText(tick, yTicks.digits)));
  }
  for (const tick of xTicks.ticks) {
    parts.push(drawn("text", { class: "axis", x: x.at(tick), y: box.top + box.height + 16, "text-anchor": "middle" }, tickText(tick, xTicks.digits)));
  }
  parts.push(drawn("line", { class: "base", x1: box.left, x2: box.left + box.width, y1: box.top + box.height, y2: box.top + box.height }));
  parts.push(drawn("text", { class: "axis", x: box.left + box.width / 2, y: box.top + box.height + 33, "text-anchor": "middle" }, labels.x));
  parts.push(drawn("text", { class: "axis", x: 0, y: box.top - 14 }, labels.y));
  return parts;
}

function scale(low, high, start, length) {
  const reach = high - low || 1;
  return { low, high, at: (value) => start + (length * (value - low)) / reach };
}

function extent(values, margin) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  if (low === Infinity) return [0, 1];
  const reach = high - low || Math.abs(high) || 1;
  return [low - margin * reach, high + margin * reach];
}

// lines: {name, color, dash, points: [[x, y], ...], marks: bool}; options: title, x, y, references, marker, digits, unit
function lineChart(lines, options) {
  const shown = lines.filter((line) => line.points.length);
  if (!shown.length) return element("div", {}, element("h3", {}, options.title), element("p", { class: "note" }, "Nothing recorded."));
  const total = chartWidth(options.columns);
  const box = { left: 48, top: 30, width: total - 60, height: options.square ? Math.min(300, total - 60) : 230 };
  const xs = shown.flatMap((line) => line.points.map((point) => point[0]));
  const ys = shown.flatMap((line) => line.points.map((point) => point[1])).concat((options.references || []).map((each) => each.value));
  let [xLow, xHigh] = options.square ? [0, 1] : [Math.min(0, ...xs.slice(0, 1)), extent(xs, 0)[1]];
  if (xHigh <= xLow) xHigh = xLow + 1;
  let [yLow, yHigh] = options.square ? [0, 1] : extent(ys, 0.06);
  if (yLow < 0 && ys.every((value) => value >= 0)) yLow = 0;
  const x = scale(xLow, xHigh, box.left, box.width), y = scale(yLow, yHigh, box.top + box.height, -box.height);
  const parts = frame(box, x, y, options);
  for (const each of options.references || []) {
    parts.push(drawn("line", { class: "reference", x1: box.left, x2: box.left + box.width, y1: y.at(each.value), y2: y.at(each.value) }));
    parts.push(drawn("text", { class: "axis", x: box.left + box.width, y: y.at(each.value) - 4, "text-anchor": "end" }, each.name));
  }
  if (options.diagonal) parts.push(drawn("line", { class: "reference", x1: x.at(0), y1: y.at(0), x2: x.at(1), y2: y.at(1) }));
  if (options.marker !== null && options.marker !== undefined) {
    parts.push(drawn("line", { class: "reference", x1: x.at(options.marker), x2: x.at(options.marker), y1: box.top, y2: box.top + box.height }));
  }
  for (const line of shown) {
    const path = line.points.map((point, place) => `${place ? "L" : "M"}${x.at(point[0]).toFixed(1)} ${y.at(point[1]).toFixed(1)}`).join("");
    parts.push(drawn("path", { class: "line", d: path, stroke: line.color, "stroke-dasharray": line.dash }));
    if (line.points.length <= 40 && line.marks !== false) {
      for (const [px, py] of line.points) {
        const text = `${line.name}\n${options.x} ${+px.toFixed(3)}: ${fixed(py, options.digits)}${options.unit || ""}`;
        parts.push(tipped({}, text, drawn("circle", { class: "mark", cx: x.at(px), cy: y.at(py), r: 3.5, fill: line.color }), drawn("circle", { class: "hit", cx: x.at(px), cy: y.at(py), r: 9 })));
      }
    }
  }
  const svg = drawn("svg", { viewBox: `0 0 ${total} ${box.top + box.height + 40}`, role: "group", "aria-label": options.title }, parts);
  const cursor = drawn("line", { class: "base", y1: box.top, y2: box.top + box.height, visibility: "hidden" });
  svg.append(cursor);
  // Where points are too many to aim at, the pointer reads all lines at its place.
  svg.addEventListener("pointermove", (event) => {
    if (event.target.closest(".focus")) { cursor.setAttribute("visibility", "hidden"); return; }
    const area = svg.getBoundingClientRect();
    const at = ((event.clientX - area.left) / area.width) * total;
    if (at < box.left || at > box.left + box.width) { hideTip(); cursor.setAttribute("visibility", "hidden"); return; }
    const value = xLow + ((at - box.left) / box.width) * (xHigh - xLow);
    const rows = shown.map((line) => {
      const near = line.points.reduce((best, point) => (Math.abs(point[0] - value) < Math.abs(best[0] - value) ? point : best));
      return `${line.name}: ${fixed(near[1], options.digits)}${options.unit || ""}`;
    });
    cursor.setAttribute("x1", at); cursor.setAttribute("x2", at); cursor.setAttribute("visibility", "visible");
    const more = rows.length > 12 ? `\n… ${rows.length - 12} more` : "";
    showTip(event, `${options.x} ${value.toFixed(options.square ? 2 : 1)}\n${rows.slice(0, 12).join("\n")}${more}`);
  });
  svg.addEventListener("pointerleave", () => { hideTip(); cursor.setAttribute("visibility", "hidden"); });
  return element("div", {}, element("h3", {}, options.title), svg, legend(shown));
}

function legend(lines) {
  const seen = new Map(lines.filter((line) => line.legend !== false).map((line) => [line.name, line]));
  return element("div", { class: "chips note" }, [...seen.values()].slice(0, 24).map((line) =>
    element("span", {}, drawn("svg", { viewBox: "0 0 22 8", width: 22, height: 8, class: "key" },
      drawn("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: line.color, "stroke-width": 3, "stroke-dasharray": line.dash })), " ", line.name)));
}

// rows: {name, color, value, low, high, tip}; options: title, x, zero (bars from zero), digits
function intervalChart(rows, options) {
  if (!rows.length) return element("div", {}, element("h3", {}, options.title), element("p", { class: "note" }, options.empty || "Nothing to show for these picks."));
  const longest = Math.max(...rows.map((row) => row.name.length));
  const total = chartWidth(options.columns), most = total < 420 ? 18 : 28;
  const left = 14 + 6.9 * Math.min(longest, most);
  const box = { left, top: 16, width: total - left - 14, height: rows.length * 24 + 6 };
  const values = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]).concat(options.zero ? [0] : []);
  const [low, high] = extent(values, 0.08);
  const x = scale(low, high, box.left, box.width);
  const ticks = niceTicks(low, high, Math.min(6, Math.floor(box.width / 50)));
  const parts = [];
  for (const tick of ticks.ticks) {
    parts.push(drawn("line", { class: "gridline", x1: x.at(tick), x2: x.at(tick), y1: box.top - 6, y2: box.top + box.height }));
    parts.push(drawn("text", { class: "axis", x: x.at(tick), y: box.top + box.height + 16, "text-anchor": "middle" }, tickText(tick, ticks.digits)));
  }
  if (options.zero) parts.push(drawn("line", { class: "base", x1: x.at(0), x2: x.at(0), y1: box.top - 6, y2: box.top + box.height }));
  rows.forEach((row, place) => {
    const y = box.top + place * 24 + 12;
    const name = row.name.length > most ? `${row.name.slice(0, most - 1)}…` : row.name;
    parts.push(drawn("text", { x: box.left - 8, y: y + 4, "text-anchor": "end" }, name));
    const marks = [];
    if (options.zero) {
      const start = Math.min(x.at(0), x.at(row.value));
      marks.push(drawn("rect", { class: "mark", x: start, y: y - 7, width: Math.abs(x.at(row.value) - x.at(0)), height: 14, fill: row.color, "fill-opacity": 0.55 }));
    }
    if (row.low !== null && row.low !== undefined) {
      marks.push(drawn("line", { x1: x.at(row.low), x2: x.at(row.high), y1: y, y2: y, stroke: options.zero ? "var(--ink)" : row.color, "stroke-width": 2 }));
    }
    if (!options.zero) marks.push(drawn("circle", { class: "mark", cx: x.at(row.value), cy: y, r: 5, fill: row.color }));
    marks.push(drawn("rect", { class: "hit", x: 0, y: y - 12, width: total, height: 24 }));
    parts.push(tipped({}, row.tip, marks));
  });
  parts.push(drawn("text", { class: "axis", x: box.left + box.width / 2, y: box.top + box.height + 33, "text-anchor": "middle" }, options.x));
  return element("div", {}, element("h3", {}, options.title),
    drawn("svg", { viewBox: `0 0 ${total} ${box.top + box.height + 40}`, role: "group", "aria-label": options.title }, parts));
}

function matrixTable(title, labels, counts) {
  const head = element("tr", {}, element("th", {}, "true \\ predicted"), labels.map((label) => element("th", { dir: "auto" }, label)), element("th", {}, "n"));
  const body = counts.map((row, place) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    return element("tr", {}, element("th", { dir: "auto" }, labels[place]), row.map((count, column) => {
      const share = total ? count / total : 0;
      const text = `true ${labels[place]}, predicted ${labels[column]}\n${count} of ${total} texts (${percentText(share)})`;
      return element("td", {
        background: `rgb(var(--shade) / ${(0.75 * share).toFixed(3)})`,
        onpointermove: (event) => showTip(event, text), onpointerleave: hideTip,
      }, `${(100 * share).toFixed(0)} %`, element("small", {}, count));
    }), element("td", {}, total));
  });
  return element("div", {}, element("h3", {}, title), element("div", { class: "scroll" }, element("table", { class: "matrix" }, element("thead", {}, head), element("tbody", {}, body))));
}
