// Colour maps and themes; the colours themselves come from jobtypes/dynamight/colours.py.

// Okabe and Ito 2008: told apart by everybody
const CATEGORIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"];
const UNKNOWN = "#9aa3ad";

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

class ColourMap {
  constructor(stops) {
    this.stops = stops.map(rgb);
    this.css = `linear-gradient(90deg, ${stops.join(", ")})`;
  }

  at(share) {
    /* Red, green, blue from 0 to 255. */
    const place = Math.min(Math.max(share, 0), 1) * (this.stops.length - 1);
    const first = Math.min(Math.floor(place), this.stops.length - 2);
    const rest = place - first;
    return this.stops[first].map((value, channel) => value + rest * (this.stops[first + 1][channel] - value));
  }

  texture() {
    const pixels = new Uint8Array(this.stops.flatMap((stop) => [...stop, 255]));
    const texture = new THREE.DataTexture(pixels, this.stops.length, 1);
    texture.magFilter = texture.minFilter = THREE.LinearFilter;
    texture.needsUpdate = true;
    return texture;
  }
}

function cssColour([red, green, blue], alpha = 1) {
  return `rgb(${red.toFixed(0)} ${green.toFixed(0)} ${blue.toFixed(0)} / ${alpha})`;
}

function styleValue(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Theme {
  /* Light or dark, and the colours of each; listeners are told of a change. */
  constructor(colours) {
    this.colours = colours;
    this.listeners = [];
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    this.name = dark.matches ? "dark" : "light";
    dark.addEventListener("change", () => this.choose(dark.matches ? "dark" : "light"));
    this.choose(this.name);
  }

  choose(name) {
    this.name = name;
    document.documentElement.dataset.theme = name;
    this.of = this.colours[name];
    this.maps = Object.fromEntries(["displacement", "density", "gain"].map((one) => [one, new ColourMap(this.of[one])]));
    this.listeners.forEach((listener) => listener());
  }
}
