// The molecule: surfaces of the consensus whose vertices are moved along the main motions.

const VERTEX_SHADER = `
  attribute float value;
  attribute float presence;
  varying vec3 vNormal;
  varying float vValue;
  varying float vPresence;
  varying float vDepth;
  void main() {
    vNormal = normalMatrix * normal;
    vValue = value;
    vPresence = presence;
    vec4 seen = modelViewMatrix * vec4(position, 1.0);
    vDepth = seen.z;
    gl_Position = projectionMatrix * seen;
  }`;

const FRAGMENT_SHADER = `
  uniform sampler2D colours;
  uniform vec3 plain;
  uniform vec3 ground;
  uniform float coloured;
  uniform float nearest;
  uniform float depth;
  varying vec3 vNormal;
  varying float vValue;
  varying float vPresence;
  varying float vDepth;
  void main() {
    // what is not there is left out in a pattern, so that what lies behind it is seen
    vec2 cell = mod(gl_FragCoord.xy, 4.0);
    float threshold = (mod(floor(cell.x) * 5.0 + floor(cell.y) * 7.0 + floor(cell.x) * floor(cell.y), 16.0) + 0.5) / 16.0;
    if (vPresence < threshold) discard;
    vec3 normal = normalize(gl_FrontFacing ? vNormal : -vNormal);
    vec3 base = mix(plain, texture2D(colours, vec2(clamp(vValue, 0.002, 0.998), 0.5)).rgb, coloured);
    float sun = max(dot(normal, normalize(vec3(0.35, 0.55, 0.8))), 0.0);
    float fill = max(dot(normal, normalize(vec3(-0.7, -0.2, 0.5))), 0.0);
    float sky = 0.5 + 0.5 * normal.y;
    float gloss = pow(max(dot(normal, normalize(vec3(0.18, 0.3, 0.93))), 0.0), 36.0);
    vec3 colour = base * (0.34 + 0.17 * sky + 0.52 * sun + 0.14 * fill) + 0.10 * gloss;
    colour *= 1.0 - 0.35 * pow(1.0 - max(normal.z, 0.0), 3.0); // edges a little darker, so that shapes part
    colour = mix(colour, ground, 0.38 * smoothstep(0.0, 1.0, (nearest - vDepth) / depth));
    gl_FragColor = vec4(colour, 1.0);
  }`;

const SURFACE_COLOURS = {
  displacement: { name: "displacement", label: "displacement from the consensus (Å)", map: "displacement", live: true },
  mobility: { name: "mobility", label: "rms displacement over all particles (Å)", map: "displacement" },
  disagreement: { name: "disagreement", label: "disagreement of the half sets (Å rms)", map: "displacement" },
  gain: { name: "local gain", label: "local correlation, deformed less rigid", map: "gain", symmetric: true },
  plain: { name: "none", label: "", map: null },
};

class Surface {
  /* One contour level of a half set, in one state. */
  constructor(half, content) {
    Object.assign(this, { half, content });
    this.rest = content.vertices.values;
    this.count = content.vertices.length;
    this.positions = new Float32Array(this.rest.length);
    this.normals = new Float32Array(this.rest.length);
    this.values = new Float32Array(this.count);
    this.presence = new Float32Array(this.count).fill(1);
    this.faces = content.faces.values;
    this.geometry = new THREE.BufferGeometry();
    this.geometry.setIndex(new THREE.BufferAttribute(Uint32Array.from(this.faces), 1));
    const attributes = { position: [this.positions, 3], normal: [this.normals, 3], value: [this.values, 1], presence: [this.presence, 1] };
    for (const [name, [array, size]] of Object.entries(attributes)) {
      this.geometry.setAttribute(name, new THREE.BufferAttribute(array, size).setUsage(THREE.DynamicDrawUsage));
    }
    this.geometry.boundingSphere = new THREE.Sphere(new THREE.Vector3(), Infinity); // always drawn
  }

  move(coordinates) {
    /* u(x) = mean(x) + sum of coordinates times motions. */
    const { mean, motions } = this.content;
    const moved = Float32Array.from(mean.values);
    motions.forEach(({ values }, motion) => {
      const share = coordinates[motion];
      if (share !== 0) for (let at = 0; at < moved.length; at++) moved[at] += share * values[at];
    });
    for (let at = 0; at < moved.length; at++) this.positions[at] = this.rest[at] + moved[at];
    this.displacement = moved;
    this.turnNormals();
  }

  turnNormals() {
    const { positions: p, normals, faces } = this;
    normals.fill(0);
    for (let face = 0; face < faces.length; face += 3) {
      const [a, b, c] = [3 * faces[face], 3 * faces[face + 1], 3 * faces[face + 2]];
      const [ux, uy, uz] = [p[b] - p[a], p[b + 1] - p[a + 1], p[b + 2] - p[a + 2]];
      const [vx, vy, vz] = [p[c] - p[a], p[c + 1] - p[a + 1], p[c + 2] - p[a + 2]];
      const [x, y, z] = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      normals[a] += x; normals[a + 1] += y; normals[a + 2] += z;
      normals[b] += x; normals[b + 1] += y; normals[b + 2] += z;
      normals[c] += x; normals[c + 1] += y; normals[c + 2] += z;
    }
    this.geometry.attributes.position.needsUpdate = this.geometry.attributes.normal.needsUpdate = true;
  }

  colour(name, [low, high]) {
    /* Values from 0 to 1 between the ends of the colour scale. */
    const still = this.content.colours[name];
    for (let at = 0; at < this.count; at++) {
      const value = still
        ? still.values[at]
        : Math.hypot(this.displacement[3 * at], this.displacement[3 * at + 1], this.displacement[3 * at + 2]);
      this.values[at] = (value - low) / (high - low);
    }
    this.geometry.attributes.value.needsUpdate = true;
  }

  fade(presences) {
    /* How much of each part is there, 0 to 1. */
    this.presence.fill(1);
    this.content.parts.forEach(({ values }, part) => {
      for (let at = 0; at < this.count; at++) this.presence[at] *= 1 - values[at] * (1 - presences[part]);
    });
    this.geometry.attributes.presence.needsUpdate = true;
  }
}

class Molecule {
  /* One or two panels side by side, seen by one camera. */
  constructor(canvas, halves, theme) {
    Object.assign(this, { canvas, halves, theme, panels: [], colouring: "displacement", level: "middle" });
    this.frame();
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: false });
    this.renderer.autoClear = false;
    this.camera = new THREE.OrthographicCamera(-1, 1, 1, -1, 0.1, 20 * this.reach);
    this.controls = new THREE.TrackballControls(this.camera, canvas);
    Object.assign(this.controls, { staticMoving: true, rotateSpeed: 3.2, panSpeed: 0.6, zoomSpeed: 1.1 });
    this.controls.addEventListener("change", () => this.redraw());
    this.surfaces = new Map();
    this.lookFromFront();
    new ResizeObserver(() => this.fit()).observe(canvas);
    theme.listeners.push(() => this.paint());
    const step = () => {
      this.controls.update();
      if (this.stale) this.draw();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  frame() {
    /* The middle of the molecule, and how far it reaches from there in any direction and any state. */
    const box = new THREE.Box3();
    const point = new THREE.Vector3();
    const each = (visit) => this.halves.forEach((half) => {
      const { values } = half.surfaces[0].vertices;
      for (let at = 0; at < values.length; at += 3) visit(point.fromArray(values, at));
    });
    each((vertex) => box.expandByPoint(vertex));
    this.middle = box.getCenter(new THREE.Vector3());
    this.reach = 0;
    each((vertex) => (this.reach = Math.max(this.reach, vertex.distanceTo(this.middle))));
  }

  lookFromFront() {
    const [, up, towards] = this.halves[0].rotation.map((axis) => new THREE.Vector3(...axis));
    this.controls.target.copy(this.middle);
    this.camera.position.copy(towards).multiplyScalar(6 * this.reach).add(this.middle);
    this.camera.up.copy(up);
    this.camera.zoom = 1;
    this.camera.lookAt(this.middle);
    this.fit();
  }

  surface(half, level = this.level) {
    const content = half.surfaces.find(({ name }) => name === level) ?? half.surfaces[0];
    const key = `${half.half} ${content.name}`;
    if (!this.surfaces.has(key)) this.surfaces.set(key, new Surface(half, content));
    return this.surfaces.get(key);
  }

  show(states) {
    /* One panel for each {half, coordinates, outside, presences, caption}. */
    this.states = states;
    this.panels = states.map(({ half, coordinates, outside, presences }, number) => {
      const surface = this.surface(half);
      surface.move(coordinates);
      if (surface.content.parts.length) surface.fade(presences ?? surface.content.parts.map(() => 1));
      return { surface, outside, mesh: this.mesh(number, surface) };
    });
    this.paint();
  }

  mesh(number, surface) {
    this.meshes ??= [];
    if (!this.meshes[number]) {
      const uniforms = Object.fromEntries(["colours", "plain", "ground", "coloured", "nearest", "depth"].map((name) => [name, { value: null }]));
      const material = new THREE.ShaderMaterial({ uniforms, vertexShader: VERTEX_SHADER, fragmentShader: FRAGMENT_SHADER, side: THREE.DoubleSide });
      const scene = new THREE.Scene();
      const mesh = new THREE.Mesh(new THREE.BufferGeometry(), material);
      mesh.frustumCulled = false;
      scene.add(mesh);
      this.meshes[number] = { scene, mesh };
    }
    this.meshes[number].mesh.geometry = surface.geometry;
    return this.meshes[number];
  }

  available() {
    /* What surfaces can be coloured by. */
    return Object.keys(SURFACE_COLOURS).filter((name) =>
      ["displacement", "plain"].includes(name) || this.halves.every((half) => half.surfaces.every(({ colours }) => name in colours)));
  }

  range() {
    /* Ends of the colour scale, the same in all panels and states. */
    const { live, symmetric } = SURFACE_COLOURS[this.colouring];
    this.ranges ??= {};
    return (this.ranges[this.colouring] ??= (() => {
      if (live) return [0, Math.max(...this.halves.map((half) => half.largest), 0.5)];
      const most = Math.max(...this.halves.map((half) => percentile(half.surfaces[0].colours[this.colouring].values.map(Math.abs), 0.995)), 0.05);
      return [symmetric ? -most : 0, most];
    })());
  }

  paint() {
    const { map } = SURFACE_COLOURS[this.colouring];
    const ground = new THREE.Color(styleValue("--scene"));
    this.renderer.setClearColor(ground, 1);
    const texture = map && this.theme.maps[map].texture();
    for (const { surface, outside, mesh } of this.panels) {
      if (map) surface.colour(this.colouring, this.range());
      const { uniforms } = mesh.mesh.material;
      uniforms.colours.value?.dispose();
      uniforms.colours.value = texture;
      uniforms.plain.value = new THREE.Color(outside ? UNKNOWN : this.theme.of.surface);
      uniforms.ground.value = ground;
      uniforms.coloured.value = map && !outside ? 1 : 0;
    }
    this.redraw();
  }

  redraw() {
    this.stale = true;
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.controls.handleResize();
    this.redraw();
  }

  draw() {
    this.stale = false;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const across = width / Math.max(this.panels.length, 1);
    const reach = this.reach * Math.max(1, height / across);
    const [top, bottom] = [1.02 * reach, -1.24 * reach]; // scales stand below the molecule
    const halfWidth = ((top - bottom) * across) / height / 2;
    Object.assign(this.camera, { top, bottom, right: halfWidth, left: -halfWidth });
    this.camera.updateProjectionMatrix();
    const distance = this.camera.position.distanceTo(this.controls.target);
    this.renderer.clear();
    this.renderer.setScissorTest(true);
    this.panels.forEach(({ mesh }, number) => {
      const { uniforms } = mesh.mesh.material;
      uniforms.nearest.value = -distance + this.reach;
      uniforms.depth.value = 2.2 * this.reach;
      this.renderer.setViewport(number * across, 0, across, height);
      this.renderer.setScissor(number * across, 0, across, height);
      this.renderer.render(mesh.scene, this.camera);
    });
    this.pixelsPerAngstrom = (height / (top - bottom)) * this.camera.zoom;
    this.onDraw?.();
  }

  async picture(words) {
    /* What is seen, with scale bar and colour scale, as a PNG. */
    this.draw();
    const source = this.canvas;
    const target = document.createElement("canvas");
    [target.width, target.height] = [source.width, source.height];
    const pen = target.getContext("2d");
    pen.drawImage(source, 0, 0);
    const unit = source.width / source.clientWidth;
    pen.scale(unit, unit);
    drawScaleBar(pen, source.clientWidth, source.clientHeight, this.pixelsPerAngstrom);
    drawColourScale(pen, source.clientWidth, this.scaleWords(), this.theme);
    pen.fillStyle = styleValue("--soft");
    pen.font = "13px sans-serif";
    pen.fillText(words, 14, 22);
    return new Promise((done) => target.toBlob(done, "image/png"));
  }

  scaleWords() {
    const { label, map } = SURFACE_COLOURS[this.colouring];
    return map && { label, ends: this.range(), map };
  }
}

function percentile(values, share) {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

function roundLength(most) {
  const decade = 10 ** Math.floor(Math.log10(most));
  return Math.max(...[1, 2, 5].map((step) => step * decade).filter((length) => length <= most));
}

function drawScaleBar(pen, width, height, pixelsPerAngstrom) {
  const length = roundLength((0.22 * width) / pixelsPerAngstrom);
  const pixels = length * pixelsPerAngstrom;
  pen.fillStyle = styleValue("--ink");
  pen.fillRect(width - 16 - pixels, height - 32, pixels, 3);
  pen.font = "12px sans-serif";
  pen.textAlign = "center";
  pen.fillText(`${length} Å`, width - 16 - pixels / 2, height - 14);
  pen.textAlign = "left";
}

function drawColourScale(pen, width, scale, theme) {
  if (!scale) return;
  const ramp = pen.createLinearGradient(width - 166, 0, width - 16, 0);
  theme.maps[scale.map].stops.forEach((stop, at, all) => ramp.addColorStop(at / (all.length - 1), cssColour(stop)));
  pen.fillStyle = ramp;
  pen.fillRect(width - 166, 30, 150, 9);
  pen.fillStyle = styleValue("--soft");
  pen.font = "12px sans-serif";
  pen.textAlign = "right";
  pen.fillText(scale.label, width - 16, 22);
  pen.fillText(shortNumber(scale.ends[1]), width - 16, 53);
  pen.textAlign = "left";
  pen.fillText(shortNumber(scale.ends[0]), width - 166, 53);
}

function shortNumber(value) {
  if (value === 0) return "0";
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2)));
}
