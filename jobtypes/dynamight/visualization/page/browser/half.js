// A half set: its particles, and the states that its model knows.

const NEIGHBOURS = 24; // particles whose mean stands for a point between them, as in visualization/session.py
const NTH_NEIGHBOUR = 5; // whose distance says whether a state lies outside the data
const BANDWIDTH = 0.25; // of the local mean along a motion, in standard deviations

class Half {
  constructor(content) {
    Object.assign(this, content);
    this.network = new Network(content.network);
    this.count = this.particles.rows.length;
    this.drawings = this.allDrawings();
    this.heldOut = Array.from(this.particles.held_out.values);
  }

  allDrawings() {
    const { coordinates, latents, others } = this.particles;
    const pairs = (table) => {
      const shown = Math.min(table.columns, 4);
      return Array.from({ length: shown }, (_, a) => Array.from({ length: shown - a - 1 }, (_, b) => [a, a + 1 + b])).flat();
    };
    const drawings = pairs(coordinates).map((axes) => this.drawing("motion", axes, coordinates, "main motion", " (Å)"));
    if (coordinates.columns === 1) drawings.push(this.oneMotion());
    drawings.push(...pairs(latents).map((axes) => this.drawing("latent", axes, latents, "latent", "")));
    others.forEach(({ name, labels, points }, number) => {
      const [x, y] = [0, 1].map((axis) => column(points, axis));
      drawings.push(new Drawing({ kind: "other", name, labels, axes: [], x, y, density: this.particles.densities[`other ${number}`] }));
    });
    return drawings;
  }

  drawing(kind, axes, table, word, unit) {
    const labels = axes.map((axis) => `${word} ${axis + 1}${unit}`);
    const name = `${kind}s ${axes[0] + 1} and ${axes[1] + 1}`;
    const [x, y] = axes.map((axis) => column(table, axis));
    const isPlane = kind === "motion" && axes[0] === 0 && axes[1] === 1;
    const plane = isPlane ? this.populations.plane : null; // deconvolved, where it was worked out
    return new Drawing({ kind, name, labels, axes, x, y, plane, density: this.particles.densities[`${kind} ${axes.join(" ")}`] });
  }

  oneMotion() {
    const x = column(this.particles.coordinates, 0);
    const y = column(this.particles.latents, 0);
    return new Drawing({ kind: "motion", name: "main motion", labels: ["main motion 1 (Å)", "latent 1"], axes: [0], x, y });
  }

  state(latent) {
    const coordinates = this.network.coordinates(latent);
    return { half: this, latent: Array.from(latent), coordinates, outside: this.isOutside(coordinates) };
  }

  stateAt(drawing, point) {
    /* The state at a point of a drawing; what the drawing does not show is the mean over the nearest particles. */
    const near = drawing.nearest(point, NEIGHBOURS);
    const farthest = near[near.length - 1].distance || 1e-12;
    const latent = this.meanLatent(near.map(({ index, distance }) => [index, Math.exp(-2 * (distance / farthest) ** 2)]));
    if (drawing.kind === "latent") {
      drawing.axes.forEach((axis, at) => (latent[axis] = point[at]));
      return this.state(latent);
    }
    if (drawing.kind === "other") return { ...this.state(latent), outside: near[0].distance > 0.04 };
    return this.state(this.network.latentAt(latent, drawing.axes, point));
  }

  stableState(number) {
    /* A stable state: the latent of the particles around it, with its place along the main motions. */
    const { place } = this.populations.states[number];
    const { coordinates } = this.particles;
    const apart = Array.from({ length: this.count }, (_, index) => [index, Math.hypot(...place.map((value, axis) => value - coordinates.values[index * coordinates.columns + axis]))]);
    const near = apart.sort((a, b) => a[1] - b[1]).slice(0, NEIGHBOURS);
    const latent = this.meanLatent(near.map(([index]) => [index, 1]));
    return this.state(this.network.latentAt(latent, place.map((_, axis) => axis), place));
  }

  stateOf(particle) {
    return { ...this.state(this.particles.latents.row(particle)), particle, outside: false };
  }

  meanLatent(weighted) {
    const latent = new Float64Array(this.particles.latents.columns);
    let total = 0;
    for (const [index, weight] of weighted) {
      total += weight;
      this.particles.latents.row(index).forEach((value, column) => (latent[column] += weight * value));
    }
    return latent.map((value) => value / (total || 1));
  }

  alongMotion(motion, count) {
    /* Latents from one end of the particles along a main motion to the other, through where they are. */
    const along = column(this.particles.coordinates, motion);
    const mean = along.reduce((sum, value) => sum + value, 0) / along.length;
    const spread = Math.sqrt(along.reduce((sum, value) => sum + (value - mean) ** 2, 0) / along.length);
    const width = Math.max(BANDWIDTH * spread, 1e-6);
    const [low, high] = this.ends[motion];
    return Array.from({ length: count }, (_, step) => {
      const place = low + ((high - low) * step) / (count - 1);
      const weighted = [];
      along.forEach((value, index) => {
        const weight = Math.exp(-0.5 * ((place - value) / width) ** 2);
        if (weight > 1e-4) weighted.push([index, weight]);
      });
      return Array.from(this.network.latentAt(this.meanLatent(weighted), [motion], [place]));
    });
  }

  isOutside(coordinates) {
    const { coordinates: table, outside } = this.particles;
    const nearest = new Array(NTH_NEIGHBOUR).fill(Infinity);
    for (let index = 0; index < this.count; index++) {
      let squared = 0;
      for (let axis = 0; axis < table.columns; axis++) squared += (table.values[index * table.columns + axis] - coordinates[axis]) ** 2;
      if (squared < nearest[NTH_NEIGHBOUR - 1]) insertSorted(nearest, squared);
    }
    return Math.sqrt(nearest[Math.min(NTH_NEIGHBOUR, this.count) - 1]) > outside;
  }

  inOther(coordinates) {
    /* Coordinates of the other half set's state that moves the density most alike. */
    const [rows, columns] = this.to_other.shape;
    return Float64Array.from({ length: rows }, (_, row) =>
      coordinates.reduce((sum, value, at) => sum + this.to_other.values[row * columns + at] * value, 0));
  }

  seenByOther(other, particle) {
    /* Coordinates that the other half set's model gives to a held-out particle of this one. */
    return other.network.coordinates(this.particles.latents_by_other.row(this.heldOut.indexOf(particle)));
  }
}

class Drawing {
  /* Particles in two dimensions. */
  constructor(parts) {
    Object.assign(this, parts);
    this.extent = [this.x, this.y].map((values) => {
      const sorted = Float32Array.from(values).sort();
      const [low, high] = [sorted[0], sorted[sorted.length - 1]];
      const margin = 0.06 * (high - low) || 1;
      return [low - margin, high + margin];
    });
  }

  nearest([x, y], count, among = null) {
    const [width, height] = this.extent.map(([low, high]) => high - low);
    const found = [];
    const look = (index) => {
      const squared = ((this.x[index] - x) / width) ** 2 + ((this.y[index] - y) / height) ** 2;
      if (found.length < count || squared < found[found.length - 1].squared) {
        let at = found.length;
        while (at > 0 && found[at - 1].squared > squared) at--;
        found.splice(at, 0, { index, squared });
        if (found.length > count) found.pop();
      }
    };
    if (among) among.forEach(look);
    else for (let index = 0; index < this.x.length; index++) look(index);
    return found.map(({ index, squared }) => ({ index, distance: Math.sqrt(squared) }));
  }
}

function column(table, axis) {
  return Float32Array.from({ length: table.length }, (_, row) => table.values[row * table.columns + axis]);
}

function insertSorted(sorted, value) {
  /* Put a value in its place and drop the largest. */
  let at = sorted.length - 1;
  while (at > 0 && sorted[at - 1] > value) {
    sorted[at] = sorted[at - 1];
    at--;
  }
  sorted[at] = value;
}
