// Arrays out of the text that page/packing.py has made of them.

class Table {
  /* Numbers in rows: `values` as they lie in memory, `shape` as numpy has it. */
  constructor(shape, values) {
    this.shape = shape;
    this.values = values;
  }

  get length() {
    return this.shape[0];
  }

  get columns() {
    return this.shape.length > 1 ? this.shape[this.shape.length - 1] : 1;
  }

  row(index) {
    return this.values.subarray(index * this.columns, (index + 1) * this.columns);
  }
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackedTable({ shape, step, width, run, data }) {
  const bytes = await inflated(data);
  const count = bytes.length / width;
  const inOrder = new Uint8Array(bytes.length);
  for (let plane = 0; plane < width; plane++) {
    for (let index = 0; index < count; index++) inOrder[index * width + plane] = bytes[plane * count + index];
  }
  if (step === 0) return new Table(shape, new Float32Array(inOrder.buffer));
  const whole = Int32Array.from(new { 1: Int8Array, 2: Int16Array, 4: Int32Array }[width](inOrder.buffer));
  if (run) {
    const [rows, columns] = run;
    for (let start = 0; start < count; start += rows * columns) {
      for (let index = start + columns; index < start + rows * columns; index++) whole[index] += whole[index - columns];
    }
  }
  return new Table(shape, step === 1 ? whole : Float32Array.from(whole, (value) => value * step));
}

async function unpacked(tree) {
  /* The same tree with every packed array as a Table. */
  if (tree === null || typeof tree !== "object") return tree;
  if ("width" in tree && "data" in tree) return unpackedTable(tree);
  if (Array.isArray(tree)) return Promise.all(tree.map(unpacked));
  const pairs = await Promise.all(Object.entries(tree).map(async ([name, value]) => [name, await unpacked(value)]));
  return Object.fromEntries(pairs);
}

function saveFile(name, content, type = "text/plain") {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
