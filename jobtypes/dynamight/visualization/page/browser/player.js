// Paths through the latent space: made of a main motion, of a line, or of two states; played and saved.

const PATH_STATES = 41;
const CYCLE_SECONDS = 4;

class Player {
  constructor(button, slider, onPlace) {
    Object.assign(this, { button, slider, onPlace, playing: false, phase: 0.25 });
    button.addEventListener("click", () => this.toggle());
    slider.addEventListener("input", () => {
      this.pause();
      this.place(Number(slider.value));
    });
  }

  open(latents) {
    this.latents = latents;
    this.phase = 0;
    this.place(0);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (!this.latents || this.playing) return;
    this.playing = true;
    this.button.innerHTML = "&#10074;&#10074;";
    let before;
    const step = (now) => {
      if (!this.playing) return;
      this.phase += Math.min(now - (before ?? now), 100) / 1000 / CYCLE_SECONDS;
      before = now;
      this.place(0.5 - 0.5 * Math.cos(2 * Math.PI * this.phase)); // there and back, slow at the ends
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.playing = false;
    this.button.innerHTML = "&#9654;";
  }

  place(share) {
    if (!this.latents) return;
    this.slider.value = share;
    const at = share * (this.latents.length - 1);
    const first = Math.min(Math.floor(at), this.latents.length - 2);
    const rest = at - first;
    this.onPlace(this.latents[first].map((value, axis) => value + rest * (this.latents[first + 1][axis] - value)));
  }
}

function evenly(points, count, extent) {
  /* Points in equal steps along a line, as it is seen. */
  const widths = extent.map(([low, high]) => high - low);
  const lengths = [0];
  points.slice(1).forEach((point, at) => lengths.push(lengths[at] + Math.hypot(...point.map((value, axis) => (value - points[at][axis]) / widths[axis]))));
  const total = lengths[lengths.length - 1];
  let at = 0;
  return Array.from({ length: count }, (_, step) => {
    const wanted = (total * step) / (count - 1);
    while (at < lengths.length - 2 && lengths[at + 1] < wanted) at++;
    const rest = lengths[at + 1] > lengths[at] ? (wanted - lengths[at]) / (lengths[at + 1] - lengths[at]) : 0;
    return points[at].map((value, axis) => value + rest * (points[at + 1][axis] - value));
  });
}

function densestPath({ plane, density }, from, to) {
  const { counts, ranges } = plane ?? density;
  return cheapestWay(plane ? counts.values : smoothed(counts), counts.shape[0], ranges, from, to);
}

function cheapestWay(smooth, size, ranges, from, to) {
  /* The way between two points of a drawing that costs least where a step costs one over the density: Dijkstra 1959. */
  const floor = 0.001 * smooth.reduce((a, b) => Math.max(a, b), 0);
  const cell = (point) => point.map((value, axis) => {
    const [low, high] = ranges[axis];
    return Math.min(size - 1, Math.max(0, Math.floor(((value - low) / (high - low)) * size)));
  });
  const [start, goal] = [from, to].map((point) => { const [x, y] = cell(point); return x * size + y; });
  const cost = new Float64Array(size * size).fill(Infinity);
  const before = new Int32Array(size * size).fill(-1);
  const queue = new Queue();
  cost[start] = 0;
  queue.add(0, start);
  while (queue.size) {
    const [reached, at] = queue.take();
    if (at === goal) break;
    if (reached > cost[at]) continue;
    const [x, y] = [Math.floor(at / size), at % size];
    for (let dx = -1; dx <= 1; dx++) {
      for (let dy = -1; dy <= 1; dy++) {
        const [nx, ny] = [x + dx, y + dy];
        if ((!dx && !dy) || nx < 0 || ny < 0 || nx >= size || ny >= size) continue;
        const next = nx * size + ny;
        const total = reached + Math.hypot(dx, dy) / (smooth[next] + floor);
        if (total < cost[next]) {
          cost[next] = total;
          before[next] = at;
          queue.add(total, next);
        }
      }
    }
  }
  const cells = [];
  for (let at = goal; at !== -1; at = before[at]) cells.unshift([Math.floor(at / size), at % size]);
  const points = cells.map((place) => place.map((value, axis) => {
    const [low, high] = ranges[axis];
    return low + ((value + 0.5) / size) * (high - low);
  }));
  return rounded([from, ...points.slice(1, -1), to]);
}

function rounded(points) {
  /* Corners of cells taken off, the ends kept. */
  let line = points;
  for (let pass = 0; pass < 8; pass++) {
    line = line.map((point, at) =>
      at === 0 || at === line.length - 1 ? point : point.map((value, axis) => (line[at - 1][axis] + 2 * value + line[at + 1][axis]) / 4));
  }
  return line;
}

class Queue {
  /* A binary heap of (cost, item), the cheapest first. */
  constructor() {
    this.heap = [];
  }

  get size() {
    return this.heap.length;
  }

  add(cost, item) {
    let at = this.heap.push([cost, item]) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.heap[parent][0] <= this.heap[at][0]) break;
      [this.heap[parent], this.heap[at]] = [this.heap[at], this.heap[parent]];
      at = parent;
    }
  }

  take() {
    const [first] = this.heap;
    const last = this.heap.pop();
    if (this.heap.length) {
      this.heap[0] = last;
      for (let at = 0; ; ) {
        const child = [2 * at + 1, 2 * at + 2].filter((one) => one < this.heap.length).sort((a, b) => this.heap[a][0] - this.heap[b][0])[0];
        if (child === undefined || this.heap[child][0] >= this.heap[at][0]) break;
        [this.heap[child], this.heap[at]] = [this.heap[at], this.heap[child]];
        at = child;
      }
    }
    return first;
  }
}
