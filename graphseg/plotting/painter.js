// The browser's half of graphseg review: it paints, Python keeps the mask, undoes and saves.

const BAND = 64; // rows of the mask in one message; servers refuse messages above some MB
const LONG = 5000; // ms without an answer after which one is told
const WIDEST = 640; // CSS pixels of the picture at first
const MARGIN = 8; // CSS pixels, the padding around it
const ZOOM = 1.25;
const LARGEST = 100; // diameter of the brush in pixels
const STEP = 10; // pixels that an arrow key moves the brush together with Shift

const SHORTCUTS = [
  ["B", "brush"],
  ["E", "eraser"],
  ["[ and ]", "smaller and larger brush"],
  ["1 to 9", "class"],
  ["Z", "undo, also with Ctrl"],
  ["Y", "redo, also with Ctrl"],
  ["H", "hide or show the label"],
  ["+, − and 0", "zoom in, zoom out, whole image"],
  ["P and N", "previous and next image"],
  ["arrow keys", `move the brush by 1 pixel, with Shift by ${STEP}`],
  ["space", "paint at the brush"],
  ["A", "accept and go on"],
];

// The mask as it is shown, and the talk with Python.
class Painting extends EventTarget {
  constructor(values) {
    super();
    this.values = { brush: 12, opacity: 0.45, ...values };
    this.asked = 0; // commands that Python has not answered yet
    this.sent = Promise.resolve();
    this.stroke = new Map(); // row to first column and end of what the present stroke touches
    [this.height, this.width, this.mask] = [1, 1, new Uint8Array(1)];
    this.command("ready"); // which Python answers with the image and the mask
  }

  // Messages go one after the other.
  send(content, body) {
    this.sent = this.sent.then(() => this.post(content, body)).catch(() => {
      this.values.status = "graphseg review has ended or cannot be reached; start it again.";
      this.dispatchEvent(new Event("change"));
    });
  }

  async post(content, body) {
    const message = JSON.stringify({ ...content, view: this.values.view });
    const options = { method: "POST", headers: { "X-Message": message }, body };
    const response = await fetch("message", options);
    if (!response.ok) throw new Error(response.statusText);
    const data = await response.arrayBuffer();
    let at = 4 + new DataView(data).getUint32(0);
    const { values, messages } = JSON.parse(new TextDecoder().decode(data.slice(4, at)));
    Object.assign(this.values, values);
    this.dispatchEvent(new Event("change"));
    for (const { content, sizes } of messages) {
      this.receive(content, sizes.map((size) => new Uint8Array(data, (at += size) - size, size)));
    }
  }

  get waiting() {
    return this.asked > 0;
  }

  painted(area) {
    this.dispatchEvent(new CustomEvent("paint", { detail: area }));
  }

  // Set all pixels within half the diameter of a line between two pixels.
  paint(from, to, diameter, value) {
    const radius = diameter / 2;
    const reach = Math.floor(radius);
    const top = Math.max(Math.min(from.row, to.row) - reach, 0);
    const left = Math.max(Math.min(from.column, to.column) - reach, 0);
    const bottom = Math.min(Math.max(from.row, to.row) + reach + 1, this.height);
    const right = Math.min(Math.max(from.column, to.column) + reach + 1, this.width);
    const down = to.row - from.row;
    const across = to.column - from.column;
    const length = down * down + across * across;
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const along = (row - from.row) * down + (column - from.column) * across;
        const part = length ? Math.min(Math.max(along / length, 0), 1) : 0;
        const y = row - from.row - part * down;
        const x = column - from.column - part * across;
        if (y * y + x * x <= radius * radius) {
          this.mask[row * this.width + column] = value;
          this.touch(row, column);
        }
      }
    }
    this.painted({ top, left, bottom, right });
  }

  // Note which columns of a row the present stroke spans.
  touch(row, column) {
    const span = this.stroke.get(row);
    if (!span) this.stroke.set(row, [column, column + 1]);
    else if (column < span[0]) span[0] = column;
    else if (column >= span[1]) span[1] = column + 1;
  }

  // Send what the stroke has changed, in bands of rows; the last makes it one step to undo.
  endStroke() {
    const bands = new Map();
    for (const [row, [left, right]] of this.stroke) {
      const number = Math.floor(row / BAND);
      const band = bands.get(number) ?? { top: row, bottom: row + 1, left, right };
      band.top = Math.min(band.top, row);
      band.bottom = Math.max(band.bottom, row + 1);
      band.left = Math.min(band.left, left);
      band.right = Math.max(band.right, right);
      bands.set(number, band);
    }
    this.stroke.clear();
    [...bands.values()].forEach(({ top, left, bottom, right }, i) => {
      const size = { height: bottom - top, width: right - left };
      const last = i + 1 === bands.size;
      const message = { kind: "stroke", row: top, column: left, ...size, last };
      this.send(message, this.cut(top, left, size));
    });
  }

  cut(top, left, { height, width }) {
    const values = new Uint8Array(height * width);
    for (let i = 0; i < height; i++) {
      const start = (top + i) * this.width + left;
      values.set(this.mask.subarray(start, start + width), i * width);
    }
    return values;
  }

  // Ask Python for something; nothing can be painted until it has answered, so that both agree.
  command(kind, more = {}) {
    this.asked += 1;
    this.send({ kind, ...more });
    this.dispatchEvent(new Event("change"));
    setTimeout(() => {
      this.slow = this.waiting;
      this.dispatchEvent(new Event("change"));
    }, LONG);
  }

  receive({ kind, row, column, height, width }, [values, picture]) {
    if (kind === "image") {
      [this.height, this.width, this.mask] = [height, width, values.slice()];
      this.picture = new Blob([picture], { type: "image/png" });
      this.stroke.clear();
      this.dispatchEvent(new Event("load"));
    } else if (kind === "patch") {
      for (let i = 0; i < height; i++) {
        const start = (row + i) * this.width + column;
        this.mask.set(values.subarray(i * width, (i + 1) * width), start);
      }
      this.painted({ top: row, left: column, bottom: row + height, right: column + width });
    } else if (kind === "done") {
      this.asked -= 1;
      this.slow = false;
      this.dispatchEvent(new Event("change"));
    }
  }
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function button(text, key, pressed) {
  return element("button", { type: "button", title: `${text} (${key})`, onclick: pressed }, text);
}

function slider(attributes, moved) {
  const input = element("input", { type: "range", ...attributes });
  input.addEventListener("input", () => moved(Number(input.value)));
  return input;
}

function bar(label, ...parts) {
  return element("div", { class: "graphseg-bar", role: "group", "aria-label": label }, ...parts);
}

// A toolbar above the micrograph with the label over it.
export default class View {
  constructor(values, root) {
    this.painting = new Painting(values);
    this.values = this.painting.values;
    this.root = root;
    this.erasing = false;
    this.cursor = { row: 0, column: 0 };
    this.build();
    this.listen();
    this.listClasses();
    this.load();
    this.refresh();
  }

  build() {
    const keys = SHORTCUTS.flatMap(([key, meaning]) => [
      element("dt", {}, element("kbd", {}, key)),
      element("dd", {}, meaning),
    ]);
    this.status = element("p", { class: "graphseg-status", role: "status" });
    this.viewport = element("div", { class: "graphseg-viewport" }, this.buildStage());
    this.root.append(
      bar("Image", ...this.buildImages()),
      bar("Tools", ...this.buildTools(), ...this.buildSight()),
      this.viewport,
      bar("Mask", ...this.buildReview()),
      this.status,
      element(
        "details",
        {},
        element("summary", {}, "Keys (while the painter has the focus)"),
        element("dl", {}, ...keys),
      ),
    );
    this.root.classList.add("graphseg-painter");
  }

  buildImages() {
    this.previousButton = button("Previous", "P", () => this.painting.command("previous"));
    this.nextButton = button("Next", "N", () => this.painting.command("next"));
    this.title = element("strong", { class: "graphseg-name" });
    return [this.previousButton, this.nextButton, this.title];
  }

  buildTools() {
    this.brushButton = button("Brush", "B", () => this.choose(false));
    this.eraserButton = button("Eraser", "E", () => this.choose(true));
    const sizes = { min: 1, max: LARGEST, step: 1, title: "Size of the brush ([ and ])" };
    this.sizeInput = slider(sizes, (size) => this.put("brush", size));
    this.sizeText = element("output", { class: "graphseg-size" });
    const size = element("label", {}, "Size ", this.sizeInput, this.sizeText);
    this.classSelect = element("select", { title: "Class (1 to 9)" });
    this.classLabel = element("label", {}, "Class ", this.classSelect);
    this.undoButton = button("Undo", "Z", () => this.painting.command("undo"));
    this.redoButton = button("Redo", "Y", () => this.painting.command("redo"));
    const tools = [this.brushButton, this.eraserButton, size, this.classLabel];
    return [...tools, this.undoButton, this.redoButton];
  }

  buildSight() {
    const opacities = { min: 0, max: 1, step: 0.05, title: "Opacity of the label" };
    this.opacityInput = slider(opacities, (opacity) => this.put("opacity", opacity));
    this.outButton = button("−", "zoom out: −", () => this.zoom(1 / ZOOM));
    this.wholeButton = button("Whole", "whole image: 0", () => this.zoom(0));
    this.inButton = button("+", "zoom in: +", () => this.zoom(ZOOM));
    this.outButton.setAttribute("aria-label", "Zoom out");
    this.inButton.setAttribute("aria-label", "Zoom in");
    const opacity = element("label", {}, "Opacity ", this.opacityInput);
    return [opacity, this.outButton, this.wholeButton, this.inButton];
  }

  buildStage() {
    this.picture = element("canvas", { class: "graphseg-picture" });
    this.overlay = element("canvas", { class: "graphseg-overlay" });
    this.ring = element("div", { class: "graphseg-ring", "aria-hidden": "true" });
    const what = "Micrograph with its label. Arrow keys move the brush, space paints.";
    const roles = { tabindex: 0, role: "application", "aria-label": what };
    const parts = [this.picture, this.overlay, this.ring];
    this.stage = element("div", { class: "graphseg-stage", ...roles }, ...parts);
    return this.stage;
  }

  buildReview() {
    const range = { min: 0.02, max: 0.98, step: 0.02, title: "Probability that counts" };
    this.thresholdInput = slider(range, (value) => this.showThreshold(value));
    this.thresholdInput.addEventListener("change", () =>
      this.painting.command("threshold", { value: Number(this.thresholdInput.value) }),
    );
    this.thresholdText = element("output", { class: "graphseg-size" });
    this.acceptButton = button("Accept", "A", () => this.painting.command("accept"));
    const threshold = ["Threshold ", this.thresholdInput, this.thresholdText];
    this.thresholdLabel = element("label", {}, ...threshold);
    return [this.thresholdLabel, this.acceptButton];
  }

  showThreshold(value) {
    this.thresholdText.textContent = value.toFixed(2);
  }

  listen() {
    this.painting.addEventListener("load", () => this.load());
    this.painting.addEventListener("paint", (event) => this.draw(event.detail));
    this.painting.addEventListener("change", () => this.refresh());
    this.stage.addEventListener("pointerdown", (event) => this.begin(event));
    this.stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(name, () => this.finish());
    }
    this.classSelect.addEventListener("change", () => this.choose(false));
    this.root.addEventListener("keydown", (event) => this.press(event));
  }

  load() {
    const { height, width } = this.painting;
    this.from = null;
    for (const canvas of [this.picture, this.overlay]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.cursor = { row: Math.floor(height / 2), column: Math.floor(width / 2) };
    this.draw({ top: 0, left: 0, bottom: height, right: width });
    this.show();
    this.zoom(0);
  }

  listClasses() {
    const { classes, shown } = this.values; // the latter nobody can choose to paint
    this.classSelect.append(...classes.map((c) => element("option", {}, c.label)));
    this.classLabel.hidden = classes.length < 2;
    const rgb = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
    this.colours = new Map([...classes, ...shown].map((c) => [c.value, rgb(c.colour)]));
  }

  async show() {
    const { picture } = this.painting;
    if (!picture) return; // nothing has come from Python yet
    const bitmap = await createImageBitmap(picture);
    if (picture !== this.painting.picture) return; // the next image is open already
    this.picture.getContext("2d").drawImage(bitmap, 0, 0);
    this.root.dataset.shown = this.values.name;
  }

  draw({ top, left, bottom, right }) {
    const [height, width] = [bottom - top, right - left];
    if (height <= 0 || width <= 0) return;
    const tinted = new ImageData(width, height);
    const { unmarked } = this.values;
    for (let i = 0, pixel = 0; i < height; i++) {
      let at = (top + i) * this.painting.width + left;
      for (let j = 0; j < width; j++, at++, pixel += 4) {
        const value = this.painting.mask[at];
        const colour = value === unmarked ? null : this.colours.get(value);
        if (colour) tinted.data.set([...colour, 255], pixel);
      }
    }
    this.overlay.getContext("2d").putImageData(tinted, left, top);
  }

  refresh() {
    const { name, place, status, brush, opacity, threshold } = this.values;
    this.title.textContent = `${name} (${place})`;
    this.status.textContent = this.painting.slow
      ? "graphseg review does not answer: it is busy, or has ended."
      : status;
    this.sizeInput.value = brush;
    this.sizeText.textContent = `${brush} px`;
    this.opacityInput.value = opacity;
    this.overlay.style.opacity = opacity;
    this.thresholdLabel.hidden = threshold === null; // labels have none
    this.thresholdInput.value = threshold;
    this.showThreshold(threshold ?? 0);
    this.brushButton.setAttribute("aria-pressed", !this.erasing);
    this.eraserButton.setAttribute("aria-pressed", this.erasing);
    const able = { undo: "undoable", redo: "redoable", previous: "has_previous", next: "has_next" };
    for (const [name, value] of Object.entries(able)) {
      // Not "disabled": a button that loses the focus would lose the keys as well.
      this[`${name}Button`].setAttribute("aria-disabled", !this.values[value]);
    }
    this.root.setAttribute("aria-busy", this.painting.waiting);
    this.stage.style.cursor = this.painting.waiting ? "wait" : "none";
    this.moveRing();
  }

  put(name, value) {
    this.values[name] = value;
    this.refresh();
  }

  choose(erasing) {
    this.erasing = erasing;
    this.refresh();
  }

  value() {
    const { classes, erased } = this.values;
    return this.erasing ? erased : classes[this.classSelect.selectedIndex].value;
  }

  // Change the scale by a factor around the brush; 0: show the whole image.
  zoom(factor) {
    const { height, width } = this.painting;
    const room = Math.min(this.viewport.clientWidth - MARGIN, WIDEST);
    const whole = (room > 0 ? room : WIDEST) / Math.max(width, height);
    this.scale = factor ? Math.min(Math.max(this.scale * factor, whole / 4), 64) : whole;
    this.stage.style.width = `${width * this.scale}px`;
    this.stage.style.height = `${height * this.scale}px`;
    this.picture.style.imageRendering = this.scale > 2 ? "pixelated" : "auto";
    this.moveRing();
    const middle = (pixel, length) => (pixel + 0.5) * this.scale - length / 2;
    this.viewport.scrollLeft = middle(this.cursor.column, this.viewport.clientWidth);
    this.viewport.scrollTop = middle(this.cursor.row, this.viewport.clientHeight);
  }

  moveRing() {
    const size = this.values.brush * this.scale;
    this.ring.style.width = this.ring.style.height = `${size}px`;
    this.ring.style.left = `${(this.cursor.column + 0.5) * this.scale - size / 2}px`;
    this.ring.style.top = `${(this.cursor.row + 0.5) * this.scale - size / 2}px`;
  }

  // The pixel below the pointer.
  pixel(event) {
    const box = this.overlay.getBoundingClientRect();
    return {
      row: Math.floor(((event.clientY - box.top) * this.painting.height) / box.height),
      column: Math.floor(((event.clientX - box.left) * this.painting.width) / box.width),
    };
  }

  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.stage.focus({ preventScroll: true });
    if (this.painting.waiting || this.from) return;
    this.stage.setPointerCapture(event.pointerId);
    this.from = this.cursor = this.pixel(event);
    this.extend(this.from);
  }

  move(event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      this.cursor = this.pixel(each);
      if (this.from) this.extend(this.cursor);
    }
    this.moveRing();
  }

  extend(to) {
    this.painting.paint(this.from, to, this.values.brush, this.value());
    this.from = to;
  }

  finish() {
    if (this.from) this.painting.endStroke();
    this.from = null;
  }

  press(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const control = event.ctrlKey || event.metaKey;
    const react = control ? this.controlKeys(event.shiftKey)[key] : this.keys(event)[key];
    if (!react || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!this.from) react();
  }

  controlKeys(shifted) {
    const command = (kind) => () => this.painting.command(kind);
    return { z: command(shifted ? "redo" : "undo"), y: command("redo") };
  }

  keys(event) {
    const click = (button) => () => button.click();
    const resize = (change) => () =>
      this.put("brush", Math.min(Math.max(this.values.brush + change, 1), LARGEST));
    const keys = {
      b: click(this.brushButton),
      e: click(this.eraserButton),
      z: click(this.undoButton),
      y: click(this.redoButton),
      p: click(this.previousButton),
      n: click(this.nextButton),
      a: click(this.acceptButton),
      h: () => (this.overlay.hidden = !this.overlay.hidden),
      "[": resize(-1),
      "]": resize(1),
      "+": () => this.zoom(ZOOM),
      "=": () => this.zoom(ZOOM),
      "-": () => this.zoom(1 / ZOOM),
      0: () => this.zoom(0),
    };
    if (/^[1-9]$/.test(event.key) && event.key <= this.classSelect.length) {
      keys[event.key] = () => {
        this.classSelect.selectedIndex = event.key - 1;
        this.choose(false);
      };
    }
    return event.target === this.stage ? { ...keys, ...this.stageKeys(event.shiftKey) } : keys;
  }

  stageKeys(shifted) {
    const step = shifted ? STEP : 1;
    const go = (rows, columns) => () => {
      const inside = (n, size) => Math.min(Math.max(n, 0), size - 1);
      this.cursor = {
        row: inside(this.cursor.row + rows * step, this.painting.height),
        column: inside(this.cursor.column + columns * step, this.painting.width),
      };
      this.moveRing();
      this.ring.scrollIntoView({ block: "nearest", inline: "nearest" });
    };
    return {
      ArrowUp: go(-1, 0),
      ArrowDown: go(1, 0),
      ArrowLeft: go(0, -1),
      ArrowRight: go(0, 1),
      " ": () => {
        if (this.painting.waiting) return;
        this.from = this.cursor;
        this.extend(this.cursor);
        this.finish();
      },
    };
  }
}
