// The job at a glance: what was found, curves, tables, figures.

const CURVES = {
  loss: { title: "Objective", note: "what the training minimises; it may rise with the weight of its prior" },
  held_out: { title: "Held-out images", note: "minus log likelihood per particle; lower is better" },
  rms_motion_angstroms: { title: "Learned motion", y: { label: "Å rms", from: 0 } },
  resolution_angstroms: { title: "Resolution that is used", y: { label: "Å", from: 0 } },
};

class Overview {
  constructor(node, content, halves, theme) {
    Object.assign(this, { node, content, halves, theme });
    theme.listeners.push(() => this.fill());
    this.fill();
  }

  fill() {
    const sections = [this.found(), this.populations(), this.training(), this.particles(), this.maps(), this.regions(), this.times(), this.figures(), this.asked()];
    this.node.replaceChildren(...sections.filter(Boolean));
  }

  section(title, whole, ...children) {
    return element("section", whole ? { class: "whole" } : {}, element("h2", {}, title), ...children);
  }

  found() {
    const { paragraph, sentences, links } = this.content;
    const words = element("p", {}, paragraph.join(" "));
    const said = element("details", {}, element("summary", {}, "What the job says of it, in full"), ...sentences.map((line) => element("p", {}, line)));
    const beside = element("p", { class: "links" }, ...links.map(([name, path]) => element("a", { href: path }, name)));
    return this.section("What was found", true, words, ...(sentences.length ? [said] : []), beside);
  }

  populations() {
    const { lines, states, sentence, caveat } = this.halves[0].populations;
    const charts = lines.map(({ motion, places, mean, error, halves, plain }) => {
      const curve = ({ values }) => places.map((place, at) => [place, values[at]]);
      const series = [
        { points: curve(mean), band: error.values, colour: styleValue("--soft") },
        ...halves.map((one, at) => ({ name: `half ${at + 1}`, points: curve(one), colour: this.theme.of.halves[at] })),
        { name: "not deconvolved", points: curve(plain), colour: styleValue("--soft"), dashes: "3 3" },
      ];
      return new Chart({ title: `Density along main motion ${motion + 1}`, series, x: { label: `main motion ${motion + 1} (Å)` }, y: { label: "share of the particles per Å", from: 0 } }).lines().node;
    });
    const energies = lines.map(({ motion, places, energy }) => {
      const series = runs(places.map((place, at) => [place, energy.values[at]]), ([, value]) => value >= 0)
        .map((points) => ({ name: "energy", points, colour: styleValue("--ink") }));
      return new Chart({ title: `Energy along main motion ${motion + 1}`, series, hasKeys: false, x: { label: `main motion ${motion + 1} (Å)` }, y: { label: "kT", from: 0 } }).lines().node;
    });
    const found = element("p", {}, sentence[0].toUpperCase() + sentence.slice(1));
    const percent = (value) => (100 * value).toFixed(1);
    const listed = states.length > 1 ? [element("div", { class: "scroll" }, table(["state", ...states[0].place.map((_, axis) => `motion ${axis + 1} (Å)`), "% of the particles", "±", "half 1", "half 2"], states.map(({ place, share, error, by_half: halves }, at) =>
      [String(at + 1), ...place.map((value) => value.toFixed(1).replace("-", "−")), percent(share), percent(error), percent(halves[1]), percent(halves[2])])))] : [];
    return this.section("Populations", true, found, element("div", { class: "charts" }, ...charts, ...energies), ...listed, element("p", { class: "keys" }, caveat));
  }

  training() {
    const charts = Object.entries(CURVES).filter(([name]) => this.content.training[name]).map(([name, { title, note, y = {} }]) => {
      const series = this.content.training[name].map((one) => ({ ...one, colour: this.theme.of.halves[one.half - 1] }));
      return new Chart({ title, note, series, x: { label: "epoch" }, y }).lines().node;
    });
    return charts.length ? this.section("Training", true, element("div", { class: "charts" }, ...charts)) : null;
  }

  maps() {
    const { reconstruction } = this.content;
    if (!reconstruction) return null;
    const colours = { deformed: this.theme.of.halves[0], rigid: styleValue("--soft") };
    const series = reconstruction.curves.map((curve) => ({ ...curve, colour: colours[curve.name] }));
    const chart = new Chart({
      title: "Fourier shell correlation of the half maps",
      series,
      frame: WIDE,
      x: { label: "resolution (Å)", from: 0, words: (value) => (value > 0 ? `${Number((1 / value).toPrecision(2))}` : "∞") },
      y: { from: Math.min(0, ...series.flatMap(({ points }) => points.map(([, value]) => value))), to: 1.02 },
    }).lines().rule(0.143, "0.143");
    const { rlnDynamightVerdict: verdict, rlnDynamightHeldOutParticles: judged } = reconstruction.figures;
    const words = element("p", {}, `Verdict by ${judged ?? "the"} held-out particles: the deformed map is `, element("b", {}, String(verdict)), verdict === "better" ? " than the rigid one." : ", compared with the rigid one.");
    return this.section("Deformed reconstruction", false, words, chart.node);
  }

  particles() {
    const charts = ["displacement", "quality", "scale"].map((name) => {
      const columns = this.halves.map((half) => half.particles.colours.find((one) => one.name === name));
      const all = columns.flatMap(({ values }) => Array.from(values.values));
      const ends = name === "quality" ? [0, 1] : [percentile(all, 0.001), percentile(all, 0.999)];
      const series = columns.map(({ values }, index) => ({
        name: `half ${this.halves[index].half}`, colour: this.theme.of.halves[this.halves[index].half - 1], points: histogram(values.values, ...ends),
      }));
      return new Chart({ title: name[0].toUpperCase() + name.slice(1), series, x: { label: columns[0].unit, from: ends[0], to: ends[1] }, y: { label: "% of particles", from: 0 } }).steps().node;
    });
    return this.section("Particles", true, element("div", { class: "charts" }, ...charts));
  }

  regions() {
    const entries = Object.entries(this.content.regions);
    if (!entries.length) return null;
    const tables = entries.map(([half, rows]) => element("div", { class: "scroll" }, element("h3", {}, `Half ${half}`),
      table(["region", "x (Å)", "y (Å)", "z (Å)", "% of mass", "rms (Å)", "largest (Å)"], rows.map((row) => row.map((value) => (value === null ? "" : valueText(value)))))));
    return this.section("Which region moves by how much", false, ...tables);
  }

  times() {
    const { plan, took } = this.content.times;
    if (!plan.length && !took.length) return null;
    const planned = element("details", {}, element("summary", {}, "What the job planned"), table(["", ""], plan));
    const actual = table(["stage", "took"], took);
    return this.section("Plan, and what it took", false, element("div", { class: "scroll" }, actual), planned);
  }

  figures() {
    const { pictures } = this.content;
    if (!pictures.length) return null;
    const large = document.getElementById("large");
    const cards = pictures.map(({ title, caption, data, name }) => {
      const source = data ? `data:image/webp;base64,${data}` : "";
      const card = element("button", { type: "button", title: name }, ...(data ? [element("img", { src: source, alt: title, loading: "lazy" })] : []), element("span", {}, title));
      card.addEventListener("click", () => {
        large.querySelector("img").src = source;
        large.querySelector("img").alt = title;
        large.querySelector("p").replaceChildren(element("b", {}, `${title}. `), caption);
        large.showModal();
      });
      return card;
    });
    large.addEventListener("click", () => large.close());
    return this.section("All figures", true, element("div", { class: "figures" }, ...cards));
  }

  asked() {
    const { inputs, options } = this.content;
    const all = element("details", {}, element("summary", {}, "All options"), element("div", { class: "scroll" }, table(["option", "value"], options)));
    return this.section("Inputs and options", true, element("div", { class: "scroll" }, table(["", ""], inputs)), ...(options.length ? [all] : []));
  }
}

function runs(points, isThere) {
  /* Points that follow each other without a gap. */
  const found = [[]];
  points.forEach((point) => (isThere(point) ? found[found.length - 1].push(point) : found.push([])));
  return found.filter((run) => run.length > 1);
}

function table(heads, rows) {
  const isNumber = (words) => /^[−-]?\d[\d.,]*$/.test(words);
  const head = heads.some(Boolean) ? [element("thead", {}, element("tr", {}, ...heads.map((words, at) => element("th", rows.length && isNumber(rows[0][at]) ? { class: "number" } : {}, words))))] : [];
  const body = rows.map((row) => element("tr", {}, ...row.map((words) => element("td", isNumber(words) ? { class: "number" } : {}, words))));
  return element("table", {}, ...head, element("tbody", {}, ...body));
}
