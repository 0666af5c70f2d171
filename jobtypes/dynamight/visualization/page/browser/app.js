// What belongs together: views, latent space, player, files.

const MOST_MOTIONS = 4;
const LEAST_SHARE_OF_MOTION = 0.02; // of the first one's size: smaller ones have no button
const VIEWS = { one: "Half 1", two: "Half 2", both: "Both", heldOut: "Held out" };

class Explorer {
  constructor(content) {
    this.content = content;
    this.theme = new Theme(content.colours);
    this.halves = content.halves.map((half) => new Half(half));
    this.halves.forEach((half) => (half.largest = percentile(half.particles.colours[0].values.values, 0.98) * 2.2));
    this.molecule = new Molecule(byId("molecule"), this.halves, this.theme);
    this.molecule.onDraw = () => this.furnish();
    this.latents = new LatentView(byId("latents"), this.theme);
    this.player = new Player(byId("play"), byId("position"), (latent) => this.show(this.half.state(latent), true));
    this.view = "one";
    this.half = this.halves[0];
    this.pins = {};
    this.overview = new Overview(byId("overview"), content, this.halves, this.theme);
    this.connect();
    this.openView("one");
  }

  connect() {
    byId("job").textContent = this.content.job;
    byId("headline").textContent = this.content.headline;
    byId("theme").addEventListener("click", () => this.theme.choose(this.theme.name === "dark" ? "light" : "dark"));
    this.theme.listeners.push(() => this.named());
    const canHoldOut = this.halves.every((half) => half.particles.latents_by_other && half.heldOut.length);
    const views = Object.entries(VIEWS).filter(([name]) => name !== "heldOut" || canHoldOut);
    choice(byId("views"), views, (name) => this.openView(name));
    choice(byId("tools"), [["look", "Look"], ["path", "Path"], ["lasso", "Lasso"]], (name) => this.chooseTool(name));
    select(byId("surface-colour"), this.molecule.available().map((name) => [name, SURFACE_COLOURS[name].name]), (name) => {
      this.molecule.colouring = name;
      this.molecule.paint();
      this.named();
    });
    const levels = this.halves[0].surfaces.map(({ name, level }) => [name, `${name}, ${shortNumber(level)}`]);
    select(byId("contour"), levels, (name) => {
      this.molecule.level = name;
      this.molecule.show(this.molecule.states);
    });
    if (levels.some(([name]) => name === "middle")) byId("contour").value = "middle";
    this.latents.onLook = (point) => this.look(point);
    this.latents.onPath = (line) => this.openPath(evenly(line, PATH_STATES, this.drawing.extent).map((point) => this.half.stateAt(this.drawing, point).latent), "the line that was drawn");
    this.latents.onLasso = (polygon) => this.selected(polygon);
    byId("pin-a").addEventListener("click", () => this.pin("A"));
    byId("pin-b").addEventListener("click", () => this.pin("B"));
    byId("between").addEventListener("click", () => this.openBetween());
    byId("save-path").addEventListener("click", () => this.savePath());
    byId("picture").addEventListener("click", async () => saveFile("molecule.png", await this.molecule.picture(byId("state").textContent)));
    this.chooseTool("look");
  }

  chooseTool(name) {
    this.latents.tool = name;
    press(byId("tools"), name);
    byId("hint").textContent = this.view === "heldOut" && name === "look" ? HINTS.heldOut : HINTS[name];
  }

  openView(view) {
    this.player.pause();
    this.view = view;
    press(byId("views"), view);
    const half = view === "two" ? this.halves[1] : this.halves[0];
    this.half = half;
    this.pins = {};
    select(byId("axes"), half.drawings.map(({ name }, index) => [index, name]), (index) => this.openDrawing(index));
    const colours = [...half.particles.colours.map(({ name }) => name), "view", "density"];
    select(byId("particle-colour"), colours.map((name) => [name, name === "view" ? "viewing direction" : name]), () => this.openDrawing(byId("axes").value));
    if (view === "heldOut" && colours.includes("error")) byId("particle-colour").value = "error";
    this.chooseTool(this.latents.tool);
    this.partSwitches();
    this.motionButtons();
    this.stableStates();
    this.openDrawing(0);
    this.openMotion(0);
    this.player.place(1);
  }

  openDrawing(index) {
    this.drawing = this.half.drawings[index];
    this.colouring = new ParticleColouring(this.half, byId("particle-colour").value, this.theme);
    this.latents.marks = {};
    this.latents.open(this.half, this.drawing, this.colouring, this.view === "heldOut");
    byId("selection").hidden = true;
    this.named();
    this.markPath();
    if (this.state) this.mark();
  }

  partSwitches() {
    const node = byId("parts");
    node.hidden = !this.half.parts.length;
    node.replaceChildren(...this.half.parts.map((number) => {
      const box = element("input", { type: "checkbox", "data-part": number, checked: "" });
      box.addEventListener("change", () => this.show(this.state));
      return element("label", {}, box, `part ${number}, which some particles lack`);
    }));
  }

  presences(half) {
    /* How much of each part is there: as the switches say, and as a particle that is shown has it. */
    return half.parts.map((number, part) => {
      const box = document.querySelector(`[data-part="${number}"]`);
      if (box && !box.checked) return 0;
      return this.state?.particle !== undefined && half === this.half && half.particles.presence ? half.particles.presence.row(this.state.particle)[part] : 1;
    });
  }

  motionButtons() {
    const { motions_rms: rms } = this.half;
    const shown = rms.slice(0, Math.min(MOST_MOTIONS, this.half.particles.coordinates.columns)).filter((size) => size > LEAST_SHARE_OF_MOTION * rms[0]);
    byId("motions").replaceChildren(...shown.map((size, motion) => {
      const button = element("button", { type: "button", "data-name": motion }, `Motion ${motion + 1}`, element("small", {}, `${size.toFixed(1)} Å rms`));
      button.addEventListener("click", () => {
        this.openMotion(motion);
        this.player.play();
      });
      return button;
    }));
  }

  stableStates() {
    /* A button for each stable state where there are several. */
    const { states } = this.half.populations;
    const node = byId("states");
    node.hidden = states.length < 2;
    node.replaceChildren(...states.map(({ share, error }, number) => {
      const button = element("button", { type: "button", title: "A stable state: a maximum of the density of states" }, `State ${number + 1}`, element("small", {}, `${(100 * share).toFixed(0)} ± ${Math.max(1, 100 * error).toFixed(0)} %`));
      button.addEventListener("click", () => {
        this.player.pause();
        this.show(this.half.stableState(number));
      });
      return button;
    }));
  }

  openMotion(motion) {
    this.openPath(this.half.alongMotion(motion, PATH_STATES), `main motion ${motion + 1}, from the 2nd to the 98th percentile of the particles`);
    press(byId("motions"), String(motion));
  }

  openPath(latents, words) {
    this.path = latents;
    press(byId("motions"), null);
    byId("path").textContent = `The path is ${words}.`;
    this.markPath();
    this.player.open(latents);
  }

  openBetween() {
    const ends = ["A", "B"].map((name) => this.place(this.pins[name]));
    const line = this.drawing.density ? densestPath(this.drawing, ...ends) : ends;
    this.openPath(evenly(line, PATH_STATES, this.drawing.extent).map((point) => this.half.stateAt(this.drawing, point).latent), "the way from A to B through where most particles are");
    this.player.play();
  }

  pin(name) {
    this.pins[name] = this.state;
    byId("between").disabled = !(this.pins.A && this.pins.B);
    this.mark();
  }

  look(point) {
    this.player.pause();
    if (this.view === "heldOut") {
      const [{ index }] = this.drawing.nearest(point, 1, this.half.heldOut);
      this.show(this.half.stateOf(index));
    } else {
      this.show(this.half.stateAt(this.drawing, point));
    }
  }

  show(state, isOnPath = false) {
    if (this.view === "heldOut" && isOnPath) {
      const [{ index }] = this.drawing.nearest(this.place(state), 1, this.half.heldOut);
      state = this.half.stateOf(index);
    }
    this.state = state;
    this.molecule.show(this.panels(state));
    this.mark();
    this.say();
  }

  panels(state) {
    const { half, coordinates, outside } = state;
    const own = { half, coordinates, outside, presences: this.presences(half), caption: `half ${half.half}` };
    const other = this.halves.find((one) => one !== half);
    if (this.view === "both") return [own, { half: other, coordinates: half.inOther(coordinates), outside, presences: this.presences(other), caption: `half ${other.half}` }];
    if (this.view === "heldOut") {
      return [{ ...own, caption: `half ${half.half}, which held it out` }, { half: other, coordinates: half.seenByOther(other, state.particle), outside: false, caption: `half ${other.half}, which never saw it` }];
    }
    return [{ ...own, caption: "" }];
  }

  place(state) {
    /* Where a state lies in the drawing. */
    if (this.drawing.kind === "latent") return this.drawing.axes.map((axis) => state.latent[axis]);
    if (this.drawing.kind === "motion") {
      return this.drawing.axes.length > 1 ? this.drawing.axes.map((axis) => state.coordinates[axis]) : [state.coordinates[0], state.latent[0]];
    }
    const near = nearestLatent(this.half, state.latent);
    return [this.drawing.x[near], this.drawing.y[near]];
  }

  mark() {
    this.latents.marks.state = this.place(this.state);
    const pins = [...this.stableMarks(), ...Object.entries(this.pins)];
    this.latents.marks.pins = Object.fromEntries(pins.map(([name, state]) => [name, this.place(state)]));
    this.latents.overlay();
  }

  stableMarks() {
    /* Numbers and states of the stable states, worked out once for each half set. */
    const { states } = this.half.populations;
    this.half.stableMarks ??= states.length > 1 ? states.map((_, number) => [String(number + 1), this.half.stableState(number)]) : [];
    return this.half.stableMarks;
  }

  markPath() {
    this.latents.marks.path = this.path && this.drawing.kind !== "other" ? this.path.map((latent) => this.place(this.half.state(latent))) : null;
  }

  say() {
    const { coordinates, outside, particle } = this.state;
    const { displacement } = this.molecule.panels[0].surface;
    const rms = Math.sqrt((3 * displacement.reduce((sum, value) => sum + value * value, 0)) / displacement.length);
    const along = Array.from(coordinates.slice(0, Math.min(3, byId("motions").children.length)), (value, motion) => `motion ${motion + 1}: ${signed(value)} Å`);
    const node = byId("state");
    node.replaceChildren(element("b", {}, particle === undefined ? "State" : `Particle ${this.half.particles.rows.values[particle] + 1}`), ` ${along.join(", ")}; ${rms.toFixed(1)} Å rms from the consensus.`);
    if (outside) node.append(element("span", { class: "warn" }, " Outside the data: no particle is like this, so nothing is known of it."));
  }

  named() {
    /* Legends, and the words of the theme's button. */
    byId("theme").textContent = this.theme.name === "dark" ? "Light" : "Dark";
    legend(byId("surface-legend"), this.molecule.scaleWords(), this.theme.maps);
    const { name, label, low, high } = this.colouring ?? {};
    const isRamp = label && name !== "cluster";
    legend(byId("particle-legend"), isRamp ? { label, ends: [low, high], map: ["displacement", "error"].includes(name) ? "displacement" : "density" } : null, this.theme.maps);
    if (this.colouring && !isRamp) words(byId("particle-legend"), this.colouring);
  }

  furnish() {
    /* Scale bar, orientation and captions, after each picture. */
    const { pixelsPerAngstrom, canvas, camera, states } = this.molecule;
    const length = roundLength((0.22 * canvas.clientWidth) / pixelsPerAngstrom / states.length);
    byId("scale").querySelector("i").style.width = `${length * pixelsPerAngstrom}px`;
    byId("scale").querySelector("span").textContent = `${length} Å`;
    byId("captions").replaceChildren(...states.map(({ caption }) => element("span", {}, caption)));
    const inverse = camera.quaternion.clone().invert();
    byId("orientation").replaceChildren(...["x", "y", "z"].flatMap((name, axis) => {
      const direction = new THREE.Vector3().setComponent(axis, 1).applyQuaternion(inverse);
      const [x, y] = [direction.x, -direction.y];
      return [svg("line", { x1: 0, y1: 0, x2: 17 * x, y2: 17 * y, opacity: 0.55 + 0.45 * direction.z }), svg("text", { x: 25 * x, y: 25 * y }, name)];
    }));
  }

  selected(polygon) {
    const { half, drawing } = this;
    const { all, rows, count } = half.particles;
    const isWhole = all && drawing.kind === "motion" && drawing.axes[0] === 0 && drawing.axes[1] === 1;
    const chosen = [];
    if (isWhole) {
      for (let at = 0; at < all.rows.length; at++) if (isInside(all.places.row(at), polygon)) chosen.push(all.rows.values[at] + 1);
    } else {
      for (let at = 0; at < rows.length; at++) if (isInside([drawing.x[at], drawing.y[at]], polygon)) chosen.push(rows.values[at] + 1);
    }
    const shown = isWhole || rows.length === count;
    this.chosen = chosen;
    const words = shown
      ? `${chosen.length.toLocaleString("en")} of ${count.toLocaleString("en")} particles of half ${half.half}`
      : `about ${Math.round((chosen.length * count) / rows.length).toLocaleString("en")} of ${count.toLocaleString("en")} particles of half ${half.half}; ${chosen.length.toLocaleString("en")} of those shown`;
    const save = element("button", { type: "button", id: "save-rows" }, "Save row numbers");
    save.addEventListener("click", () => saveFile("rows.txt", rowsText(chosen, half.half, this.content.job)));
    const corners = element("button", { type: "button", id: "save-corners" }, "Save corners");
    corners.addEventListener("click", () => saveFile("corners.txt", cornersText(polygon, drawing, this.content.job, half.half)));
    const node = byId("selection");
    node.replaceChildren(element("b", { id: "count" }, words), save, ...(drawing.kind === "other" ? [] : [corners]));
    node.hidden = false;
  }

  savePath() {
    const head = [`# ${this.path.length} states of half ${this.half.half} of ${this.content.job}, one latent in each line`, `# relion_jobs continue ${this.content.job} -o do_visualize=Yes -o headless=Yes -o halfset=${this.half.half} -o latents_file=latents.txt -o do_trajectory=Yes`];
    saveFile("latents.txt", [...head, ...this.path.map((latent) => Array.from(latent, (value) => value.toFixed(5)).join(" ")), ""].join("\n"));
  }
}

function rowsText(chosen, half, job) {
  return [`# ${chosen.length} particles of half ${half} of ${job}, 1 for the first of its STAR file`, `# relion_jobs_dynamight subset ${job} --rows rows.txt --half-set ${half}`, ...chosen, ""].join("\n");
}

function cornersText(polygon, drawing, job, half) {
  const flags = `${drawing.kind === "latent" ? "--embedding raw " : ""}--axes ${drawing.axes.map((axis) => axis + 1).join(" ")}`;
  return [`# relion_jobs_dynamight subset ${job} --half-set ${half} --polygon corners.txt ${flags}`, ...polygon.map((corner) => corner.map((value) => value.toFixed(4)).join(" ")), ""].join("\n");
}

function nearestLatent(half, latent) {
  let [best, least] = [0, Infinity];
  for (let index = 0; index < half.count; index++) {
    const squared = half.particles.latents.row(index).reduce((sum, value, axis) => sum + (value - latent[axis]) ** 2, 0);
    if (squared < least) [best, least] = [index, squared];
  }
  return best;
}

function byId(name) {
  return document.getElementById(name);
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;
}

function choice(node, entries, onChoose) {
  node.replaceChildren(...entries.map(([name, words]) => {
    const button = element("button", { type: "button", "data-name": name }, words);
    button.addEventListener("click", () => onChoose(name));
    return button;
  }));
}

function press(node, name) {
  for (const button of node.children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
}

function select(node, entries, onChoose) {
  const before = node.value;
  node.replaceChildren(...entries.map(([value, words]) => element("option", { value }, words)));
  if (entries.some(([value]) => String(value) === before)) node.value = before;
  node.onchange = () => onChoose(node.value);
}

function legend(node, scale, maps) {
  node.hidden = !scale;
  if (!scale) return;
  const ramp = element("div", { class: "ramp" });
  ramp.style.background = maps[scale.map].css;
  node.replaceChildren(scale.label, ramp, element("div", { class: "ends" }, ...scale.ends.map((end) => element("span", {}, shortNumber(end).replace("-", "−")))));
}

function words(node, { name, values }) {
  /* What colours are that no ramp tells. */
  const clusters = name === "cluster" ? Array.from({ length: Math.max(...values) }, (_, at) => at) : [];
  const chips = clusters.map((at) => element("span", { style: `color:${CATEGORIES[at % CATEGORIES.length]}` }, `● ${at + 1} `));
  const said = { cluster: "cluster ", view: "viewing direction: x red, y green, z blue", density: "density: yellow where most particles are" }[name];
  node.hidden = false;
  node.replaceChildren(said, ...chips);
}

function refuse(error) {
  const trouble = byId("trouble");
  trouble.hidden = false;
  trouble.textContent = `This browser cannot show the page (${error.message}). It takes WebGL and a Firefox or Chrome of 2023 or later.`;
  throw error;
}

// for tests and for the curious: the page's own objects
window.explorer = Promise.resolve().then(() => unpacked(JSON.parse(byId("content").textContent))).then((content) => new Explorer(content)).catch(refuse);
