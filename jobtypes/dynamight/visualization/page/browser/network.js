// Latent -> coordinates along the main motions, as jobtypes/dynamight/model/displacement.py has it.

class Network {
  constructor({ layers }) {
    this.layers = layers;
  }

  get inputs() {
    return this.layers[0].weight.shape[1];
  }

  coordinates(latent) {
    /* Coordinates in A of the state of a latent. */
    let values = latent;
    this.layers.forEach(({ weight, bias }, number) => {
      const [rows, columns] = weight.shape;
      const next = new Float64Array(rows);
      for (let row = 0; row < rows; row++) {
        let sum = bias.values[row];
        for (let column = 0; column < columns; column++) sum += weight.values[row * columns + column] * values[column];
        next[row] = number < this.layers.length - 1 && sum < 0 ? Math.expm1(sum) : sum; // ELU
      }
      values = next;
    });
    return values;
  }

  latentAt(start, axes, wanted) {
    /* The latent nearest to a start whose coordinates along some axes are as wanted, or come close: Levenberg and Marquardt. */
    let latent = Float64Array.from(start);
    let damping = 1e-3;
    let error = this.misses(latent, axes, wanted);
    for (let step = 0; step < 20 && norm(error) > 1e-3 && damping < 1e6; step++) {
      const jacobian = axes.map(() => new Float64Array(latent.length));
      for (let column = 0; column < latent.length; column++) {
        const moved = Float64Array.from(latent);
        moved[column] += 1e-3;
        const there = this.misses(moved, axes, wanted);
        axes.forEach((_, row) => (jacobian[row][column] = (error[row] - there[row]) / 1e-3));
      }
      const shift = leastShift(jacobian, error, damping);
      const trial = latent.map((value, column) => value + shift[column]);
      const after = this.misses(trial, axes, wanted);
      if (norm(after) < norm(error)) {
        [latent, error, damping] = [trial, after, damping / 5];
      } else {
        damping *= 10;
      }
    }
    return latent;
  }

  misses(latent, axes, wanted) {
    const found = this.coordinates(latent);
    return axes.map((axis, row) => wanted[row] - found[axis]);
  }
}

function norm(values) {
  return Math.hypot(...values);
}

function leastShift(jacobian, error, damping) {
  /* The shortest step J^T (J J^T + damping)^-1 error, for one or two rows. */
  const product = (a, b) => jacobian[a].reduce((sum, value, column) => sum + value * jacobian[b][column], 0);
  const across = jacobian.length > 1 ? product(0, 1) : 0;
  const first = product(0, 0) * (1 + damping) + 1e-9;
  const second = jacobian.length > 1 ? product(1, 1) * (1 + damping) + 1e-9 : 1;
  const scale = 1 / (first * second - across * across || 1e-12);
  const other = error.length > 1 ? error[1] : 0;
  const weights = [scale * (second * error[0] - across * other), scale * (first * other - across * error[0])];
  return jacobian[0].map((_, column) => jacobian.reduce((sum, row, index) => sum + weights[index] * row[column], 0));
}
