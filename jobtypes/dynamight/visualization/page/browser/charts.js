// Charts as SVG: lines that can be read off with the pointer, and histograms.

const FRAME = { width: 330, height: 200, left: 46, right: 10, top: 12, bottom: 36 };
const WIDE = { ...FRAME, width: 560, height: 230 };

function svg(name, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  node.textContent = text;
  return node;
}

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  node.append(...children);
  return node;
}

class Chart {
  /* A frame with axes; series are {name, colour, points}. */
  constructor({ title, x, y, series, note = "", frame = FRAME, hasKeys = series.length > 1 }) {
    Object.assign(this, { x, y, series, frame });
    this.node = element("div", { class: frame === WIDE ? "chart large" : "chart" }, element("h3", {}, title));
    this.picture = svg("svg", { viewBox: `0 0 ${this.frame.width} ${this.frame.height}`, role: "img", "aria-label": title });
    this.node.append(this.picture);
    if (hasKeys) this.node.append(keys(series));
    if (note) this.node.append(element("p", { class: "keys" }, note));
    this.ranges = { x: this.range(0, x), y: this.range(1, y) };
    this.axes();
  }

  range(axis, { from, to }) {
    const values = this.series.flatMap(({ points }) => points.map((point) => point[axis]));
    const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
    const margin = axis ? 0.06 * (high - low || Math.abs(high) || 1) : 0;
    return [from ?? low - margin, to ?? high + margin];
  }

  at([x, y]) {
    const { width, height, left, right, top, bottom } = this.frame;
    const [[x0, x1], [y0, y1]] = [this.ranges.x, this.ranges.y];
    return [left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right), height - bottom - ((y - y0) / (y1 - y0 || 1)) * (height - top - bottom)];
  }

  axes() {
    const { width, height, left, right, top, bottom } = this.frame;
    for (const tick of ticks(...this.ranges.y, 5)) {
      const [, y] = this.at([0, tick]);
      this.picture.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y }));
      this.picture.append(svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, tickText(tick)));
    }
    for (const tick of ticks(...this.ranges.x, 6)) {
      const [x] = this.at([tick, 0]);
      const words = this.x.words ? this.x.words(tick) : tickText(tick);
      this.picture.append(svg("text", { x, y: height - bottom + 15, "text-anchor": "middle" }, words));
    }
    this.picture.append(svg("path", { class: "axis", d: `M${left},${top}V${height - bottom}H${width - right}` }));
    this.picture.append(svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, this.x.label));
    if (this.y.label) this.picture.append(svg("text", { x: left, y: top - 3, "text-anchor": "start" }, this.y.label));
  }

  lines() {
    for (const { points, colour, dashes = "", band } of this.series) {
      if (band) {
        const around = [...points.map(([x, y], at) => [x, y + band[at]]), ...points.map(([x, y], at) => [x, Math.max(0, y - band[at])]).reverse()];
        this.picture.append(svg("polygon", { points: around.map((corner) => this.at(corner).map((value) => value.toFixed(1)).join(",")).join(" "), fill: colour, "fill-opacity": 0.18 }));
        continue;
      }
      const path = points.map((point, index) => `${index ? "L" : "M"}${this.at(point).map((value) => value.toFixed(1)).join(",")}`).join("");
      this.picture.append(svg("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-linejoin": "round", "stroke-dasharray": dashes }));
    }
    this.readable();
    return this;
  }

  steps() {
    /* Histograms: each point is the middle of a bin and its count. */
    for (const { points, colour } of this.series) {
      const width = points.length > 1 ? points[1][0] - points[0][0] : 1;
      const corners = points.flatMap(([x, y]) => [[x - width / 2, y], [x + width / 2, y]]);
      const outline = [[corners[0][0], 0], ...corners, [corners[corners.length - 1][0], 0]].map((corner) => this.at(corner).map((value) => value.toFixed(1)).join(",")).join("L");
      this.picture.append(svg("path", { d: `M${outline}`, fill: colour, "fill-opacity": 0.14, stroke: colour, "stroke-width": 1.5 }));
    }
    return this;
  }

  rule(value, words) {
    const [x0, y] = this.at([this.ranges.x[0], value]);
    this.picture.append(svg("line", { x1: x0, x2: this.frame.width - this.frame.right, y1: y, y2: y, stroke: "var(--soft)", "stroke-dasharray": "3 3" }));
    this.picture.append(svg("text", { x: this.frame.width - this.frame.right, y: y - 4, "text-anchor": "end" }, words));
    return this;
  }

  readable() {
    const words = svg("text", { class: "read", y: this.frame.top + 10, "text-anchor": "end", x: this.frame.width - this.frame.right });
    const needle = svg("line", { class: "grid", y1: this.frame.top, y2: this.frame.height - this.frame.bottom, visibility: "hidden" });
    this.picture.append(needle, words);
    this.picture.addEventListener("pointermove", (event) => {
      const box = this.picture.getBoundingClientRect();
      const seen = ((event.clientX - box.left) / box.width) * this.frame.width;
      const [x0, x1] = this.ranges.x;
      const wanted = x0 + ((seen - this.frame.left) / (this.frame.width - this.frame.left - this.frame.right)) * (x1 - x0);
      const near = this.series.filter(({ name }) => name).map(({ points }) => points.reduce((best, point) => (Math.abs(point[0] - wanted) < Math.abs(best[0] - wanted) ? point : best)));
      const [x] = this.at(near[0]);
      needle.setAttribute("x1", x);
      needle.setAttribute("x2", x);
      needle.setAttribute("visibility", "visible");
      const place = this.x.words ? this.x.words(near[0][0]) : valueText(near[0][0]);
      words.textContent = `${place}: ${near.map((point) => valueText(point[1])).join(" · ")}`;
    });
    this.picture.addEventListener("pointerleave", () => {
      words.textContent = "";
      needle.setAttribute("visibility", "hidden");
    });
  }
}

function keys(series) {
  return element("div", { class: "keys" }, ...series.filter(({ name }) => name).map(({ name, colour }) => element("span", {}, element("i", { style: `background:${colour}` }), name)));
}

function histogram(values, low, high, bins = 40) {
  /* Shares of the values in bins: middles and per cent. */
  const counts = new Float64Array(bins);
  const width = (high - low) / bins || 1;
  for (const value of values) counts[Math.min(bins - 1, Math.max(0, Math.floor((value - low) / width)))] += 100 / values.length;
  return Array.from(counts, (count, bin) => [low + (bin + 0.5) * width, count]);
}
