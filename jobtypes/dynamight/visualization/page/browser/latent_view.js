// The latent space on a canvas: density of all particles, a sample of them, states, paths and selections.

const MARGIN = { left: 52, right: 16, top: 48, bottom: 40 };
const HINTS = {
  look: "Click or drag: the molecule takes the state at that place.",
  path: "Draw a line: its states become a path that can be played and saved.",
  heldOut: "Click: a particle that trained neither half set, as both models see it. What both show is there.",
  lasso: "Draw a line around particles: they are counted and can be saved.",
};

class LatentView {
  constructor(canvas, theme) {
    Object.assign(this, { canvas, theme, tool: "look", marks: {}, stroke: [] });
    this.pen = canvas.getContext("2d");
    new ResizeObserver(() => this.refresh()).observe(canvas);
    theme.listeners.push(() => this.refresh());
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", () => this.release());
    canvas.addEventListener("pointercancel", () => this.release());
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  open(half, drawing, colouring, onlyHeldOut) {
    Object.assign(this, { half, drawing, colouring, onlyHeldOut, stroke: [], lasso: null });
    this.refresh();
  }

  toScreen([x, y]) {
    const [[x0, x1], [y0, y1]] = this.drawing.extent;
    const { left, right, top, bottom } = MARGIN;
    const [width, height] = [this.canvas.clientWidth - left - right, this.canvas.clientHeight - top - bottom];
    return [left + ((x - x0) / (x1 - x0)) * width, top + height - ((y - y0) / (y1 - y0)) * height];
  }

  toData(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [[x0, x1], [y0, y1]] = this.drawing.extent;
    const [width, height] = [this.canvas.clientWidth - MARGIN.left - MARGIN.right, this.canvas.clientHeight - MARGIN.top - MARGIN.bottom];
    return [x0 + ((event.clientX - left - MARGIN.left) / width) * (x1 - x0), y1 - ((event.clientY - top - MARGIN.top) / height) * (y1 - y0)];
  }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = true;
    this.stroke = [this.toData(event)];
    this.lasso = null;
    if (this.tool === "look") this.onLook(this.stroke[0]);
    this.overlay();
  }

  drag(event) {
    if (!this.pressed) return;
    const point = this.toData(event);
    if (this.tool === "look") {
      this.wanted ??= requestAnimationFrame(() => {
        this.wanted = undefined;
        this.onLook(this.last);
      });
      this.last = point;
      return;
    }
    this.stroke.push(point);
    this.overlay();
  }

  release() {
    if (!this.pressed) return;
    this.pressed = false;
    if (this.tool === "path" && this.stroke.length > 2) this.onPath(this.stroke);
    if (this.tool === "lasso" && this.stroke.length > 2) {
      this.lasso = this.stroke;
      this.onLasso(this.lasso);
    }
    this.stroke = [];
    this.overlay();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || !this.marks.state) return;
    event.preventDefault();
    this.onLook(this.marks.state.map((value, axis) => value + (step[axis] * (this.drawing.extent[axis][1] - this.drawing.extent[axis][0])) / 60));
  }

  refresh() {
    /* Everything: axes, density and particles are kept as one picture, over which the rest is drawn. */
    if (!this.drawing || !this.canvas.clientWidth) return;
    const scale = Math.min(window.devicePixelRatio, 2);
    this.canvas.width = Math.round(this.canvas.clientWidth * scale);
    this.canvas.height = Math.round(this.canvas.clientHeight * scale);
    this.base = document.createElement("canvas");
    [this.base.width, this.base.height] = [this.canvas.width, this.canvas.height];
    const pen = this.base.getContext("2d");
    pen.scale(scale, scale);
    this.drawAxes(pen);
    this.drawDensity(pen);
    this.drawParticles(pen);
    this.overlay();
  }

  drawAxes(pen) {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const [soft, line] = [styleValue("--soft"), styleValue("--line")];
    pen.font = `12px ${styleValue("--font")}`;
    pen.fillStyle = soft;
    pen.strokeStyle = line;
    pen.lineWidth = 1;
    this.drawing.extent.forEach(([low, high], axis) => {
      for (const tick of ticks(low, high, axis ? 6 : 7)) {
        const [x, y] = this.toScreen(axis ? [this.drawing.extent[0][0], tick] : [tick, this.drawing.extent[1][0]]);
        pen.beginPath();
        pen.moveTo(axis ? MARGIN.left : x, axis ? y : MARGIN.top);
        pen.lineTo(axis ? width - MARGIN.right : x, axis ? y : height - MARGIN.bottom);
        pen.stroke();
        pen.textAlign = axis ? "right" : "center";
        pen.textBaseline = axis ? "middle" : "top";
        pen.fillText(tickText(tick), axis ? MARGIN.left - 7 : x, axis ? y : height - MARGIN.bottom + 6);
      }
    });
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    pen.fillText(this.drawing.labels[0], MARGIN.left + (width - MARGIN.left - MARGIN.right) / 2, height - 4);
    pen.save();
    pen.translate(14, MARGIN.top + (height - MARGIN.top - MARGIN.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "middle";
    pen.fillText(this.drawing.labels[1], 0, 0);
    pen.restore();
  }

  drawDensity(pen) {
    const { density } = this.drawing;
    if (!density) return;
    const strong = this.colouring?.name === "density";
    const smooth = smoothed(density.counts);
    const size = density.counts.shape[0];
    const most = smooth.reduce((a, b) => Math.max(a, b), 0);
    const image = new ImageData(size, size);
    const ink = rgb(this.theme.of.halves[this.half.half - 1]);
    for (let x = 0; x < size; x++) {
      for (let y = 0; y < size; y++) {
        const share = Math.sqrt(smooth[x * size + y] / most);
        const at = 4 * ((size - 1 - y) * size + x);
        const colour = strong ? this.theme.maps.density.at(share) : ink;
        image.data.set([...colour, 255 * (strong ? Math.min(1, share * 6) : 0.3 * share)], at);
      }
    }
    const picture = document.createElement("canvas");
    picture.width = picture.height = size;
    picture.getContext("2d").putImageData(image, 0, 0);
    const [[x0, x1], [y0, y1]] = density.ranges;
    const [left, bottom] = this.toScreen([x0, y0]);
    const [right, top] = this.toScreen([x1, y1]);
    pen.save();
    this.clip(pen);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, left, top, right - left, bottom - top);
    pen.restore();
  }

  drawParticles(pen) {
    if (this.colouring?.name === "density") return;
    const { x, y } = this.drawing;
    const shown = this.onlyHeldOut ? this.half.heldOut : x.keys();
    const count = this.onlyHeldOut ? this.half.heldOut.length : x.length;
    const side = count > 8000 ? 1.6 : count > 1500 ? 2.4 : 3.6;
    pen.save();
    this.clip(pen);
    pen.globalAlpha = count > 8000 ? 0.55 : 0.85;
    pen.strokeStyle = styleValue("--soft");
    pen.lineWidth = 0.5;
    for (const index of shown) {
      const [left, top] = this.toScreen([x[index], y[index]]);
      pen.fillStyle = this.colouring.css(index);
      pen.beginPath();
      pen.arc(left, top, side / 1.6, 0, 2 * Math.PI);
      pen.fill();
      if (count <= 8000) pen.stroke(); // so that pale ones are seen
    }
    pen.restore();
  }

  clip(pen) {
    pen.beginPath();
    pen.rect(MARGIN.left, MARGIN.top, this.canvas.clientWidth - MARGIN.left - MARGIN.right, this.canvas.clientHeight - MARGIN.top - MARGIN.bottom);
    pen.clip();
  }

  overlay() {
    /* The state that is shown, the path, and what is being drawn. */
    if (!this.base) return;
    const { pen } = this;
    const scale = this.canvas.width / this.canvas.clientWidth;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.base, 0, 0);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const mark = this.theme.of.state;
    if (this.marks.path) this.line(this.marks.path, mark, { width: 2, dashes: [] });
    if (this.stroke.length > 1) this.line(this.stroke, styleValue("--accent"), { width: 2, dashes: [], closed: this.tool === "lasso" });
    if (this.lasso) this.line(this.lasso, styleValue("--accent"), { width: 1.6, dashes: [5, 4], closed: true });
    for (const [name, point] of Object.entries(this.marks.pins ?? {})) this.pin(name, point);
    if (this.marks.state) this.cross(this.marks.state, mark);
  }

  line(points, colour, { width, dashes, closed = false }) {
    const { pen } = this;
    pen.save();
    this.clip(pen);
    pen.beginPath();
    points.forEach((point) => pen.lineTo(...this.toScreen(point)));
    if (closed) pen.closePath();
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.lineJoin = "round";
    pen.setLineDash(dashes);
    pen.stroke();
    pen.restore();
  }

  cross(point, colour) {
    const { pen } = this;
    const [x, y] = this.toScreen(point);
    for (const [width, style] of [[5, styleValue("--scene")], [2.4, colour]]) {
      pen.beginPath();
      pen.arc(x, y, 7, 0, 2 * Math.PI);
      pen.moveTo(x - 12, y);
      pen.lineTo(x - 7, y);
      pen.moveTo(x + 7, y);
      pen.lineTo(x + 12, y);
      pen.moveTo(x, y - 12);
      pen.lineTo(x, y - 7);
      pen.moveTo(x, y + 7);
      pen.lineTo(x, y + 12);
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.stroke();
    }
  }

  pin(name, point) {
    const { pen } = this;
    const [x, y] = this.toScreen(point);
    pen.beginPath();
    pen.arc(x, y, 9, 0, 2 * Math.PI);
    pen.fillStyle = styleValue("--card");
    pen.fill();
    pen.strokeStyle = styleValue("--ink");
    pen.lineWidth = 1.4;
    pen.stroke();
    pen.fillStyle = styleValue("--ink");
    pen.font = `600 11px ${styleValue("--font")}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(name, x, y + 0.5);
  }
}

class ParticleColouring {
  /* What the particles of a half set are coloured by. */
  constructor(half, name, theme) {
    Object.assign(this, { half, name, theme });
    const column = half.particles.colours.find((one) => one.name === name);
    if (!column) return;
    this.values = column.values.values;
    this.label = column.unit ? `${name} (${column.unit})` : name;
    const known = this.values.filter((value) => value >= 0);
    this.low = name === "displacement" || name === "error" ? 0 : percentile(known, 0.01);
    this.high = Math.max(percentile(known, 0.99), this.low + 1e-6);
  }

  get map() {
    return this.theme.maps[this.name === "displacement" || this.name === "error" ? "displacement" : "density"];
  }

  css(index) {
    if (this.name === "view") {
      return cssColour(Array.from(this.half.particles.directions.row(index), (value) => 127.5 * (1 + value)));
    }
    const value = this.values[index];
    if (value < 0) return UNKNOWN;
    if (this.name === "cluster") return CATEGORIES[(value - 1) % CATEGORIES.length];
    return cssColour(this.map.at((value - this.low) / (this.high - this.low)));
  }
}

function smoothed(counts) {
  /* Counts in cells, blurred by a Gaussian: the wider, the fewer particles there are, as in visualization/colourings.py. */
  const size = counts.shape[0];
  let values = Float32Array.from(counts.values);
  const total = values.reduce((sum, value) => sum + value, 0);
  const width = Math.max(1, (0.25 * size) / Math.cbrt(total || 1));
  const reach = Math.ceil(3 * width);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, at) => Math.exp(-0.5 * ((at - reach) / width) ** 2));
  for (const stride of [1, size]) {
    const next = new Float32Array(values.length);
    for (let at = 0; at < values.length; at++) {
      if (values[at] === 0) continue;
      const place = stride === 1 ? at % size : Math.floor(at / size);
      for (let step = Math.max(-reach, -place); step <= Math.min(reach, size - 1 - place); step++) {
        next[at + step * stride] += kernel[step + reach] * values[at];
      }
    }
    values = next;
  }
  return values;
}

function ticks(low, high, about) {
  const raw = (high - low) / about;
  const decade = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * decade).find((one) => one >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9 * step; tick += step) found.push(Math.abs(tick) < 1e-9 * step ? 0 : tick);
  return found;
}

// A tick is a multiple of a step, told apart from the next however large it is; of a value four digits count.
function tickText(tick) {
  return String(Number(tick.toPrecision(10))).replace("-", "−");
}

function valueText(value) {
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

function isInside([x, y], polygon) {
  let inside = false;
  polygon.forEach(([x1, y1], at) => {
    const [x0, y0] = polygon[(at + polygon.length - 1) % polygon.length];
    if (y1 > y !== y0 > y && x < ((x0 - x1) * (y - y1)) / (y0 - y1) + x1) inside = !inside;
  });
  return inside;
}
