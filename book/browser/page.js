// The page "Segment in the page": takes a file, shows mask and overlay, saves them.
//
// All computing is in a worker (worker.js and what it uses). A page that was opened from a folder
// may fetch nothing and start workers only from memory, so the worker, ONNX Runtime and the network
// come as scripts that hand over text; they are loaded when the first image is opened. The overlay
// is that of graphseg.io.outputs.write_overlay, the TIFF that of write_mask.
"use strict";

(() => {
  const RED = [213, 94, 0], OPACITY = 0.45; // MASK_COLOUR of graphseg/colours.py
  const SECONDS = { start: 120, read: 30, segment: 3600 }; // for one request
  const SLOW = {
    start: "The network did not start; reload the page, or use another browser.",
    read: "takes too long to read; export or copy it again.",
    segment: "takes too long; cut it up, or use graphseg segment.",
  };
  const MEGABYTES = 8; // of what is loaded with the first image
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const element = document.querySelector("#segment-page");
  const part = (name) => element.querySelector(`[data-part="${name}"]`);
  const parts = {}; // what the scripts hand over: base64 of gzip

  self.graphsegPart = (name, content) => { parts[name] = content; };

  function load(name) {
    return parts[name] !== undefined ? Promise.resolve() : new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${folder}${name}.js`;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name}.js is missing; build the book again.`));
      document.head.append(script);
    });
  }

  async function unpacked(name) {
    await load(name);
    const packed = Uint8Array.from(atob(parts[name]), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  // ---- the worker

  const waiting = new Map(); // number of a request: what takes its answers
  let worker = null, number = 0;

  function stop() {
    worker?.terminate();
    worker = null;
    waiting.clear();
    forget(); // the image was the worker's
  }

  function ask(request, given, progress = () => {}) {
    return new Promise((resolve, reject) => {
      const id = ++number;
      const timer = setTimeout(() => { // what a damaged file can do at worst
        stop();
        reject(new Error(request === "start" ? SLOW.start : `${state.name} ${SLOW[request]}`));
      }, 1000 * SECONDS[request]);
      waiting.set(id, (message) => {
        if ("progress" in message) return progress(message.progress);
        clearTimeout(timer);
        waiting.delete(id);
        if ("answer" in message) return resolve(message.answer);
        console.warn(message.error);
        const failed = "The page failed; reload it, or use graphseg segment.";
        reject(new Error(message.refused ?? failed));
      });
      worker.postMessage({ id, request, ...given });
    });
  }

  async function start() {
    if (worker) return;
    say(`Loading the network (${MEGABYTES} MB, once) …`);
    const [engine, mjs, wasm, onnx, about] = await Promise.all(
      ["engine", "glue", "runtime", "network", "about"].map(unpacked));
    state.about = JSON.parse(new TextDecoder().decode(about));
    worker = new Worker(URL.createObjectURL(new Blob([engine], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => waiting.get(data.id)?.(data);
    worker.onerror = (event) => { // it does not even run
      event.preventDefault();
      for (const answer of [...waiting.values()]) answer({ error: event.message });
      stop();
    };
    await ask("start", { about: state.about, mjs, wasm, onnx }).catch((error) => {
      stop();
      throw error;
    });
  }

  // ---- what is shown

  const state = { name: "", image: null, result: null, about: null };
  self.graphsegSegment = state; // for tests, and for the curious

  function say(text, isError = false) {
    part("status").textContent = text;
    part("status").classList.toggle("segment-error", isError);
  }

  const threshold = () => Number(part("threshold").value);

  function draw(name, colour) {
    const canvas = part(name), { height, width } = state.image;
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
    }
    const picture = new ImageData(width, height);
    for (let i = 0; i < height * width; i++) {
      const at = 4 * i;
      colour(i, picture.data, at);
      picture.data[at + 3] = 255;
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  const greyAt = (data, at, level) => { data[at] = data[at + 1] = data[at + 2] = level; };

  function drawMicrograph() {
    draw("micrograph", (i, data, at) => greyAt(data, at, state.image.levels[i]));
  }

  function drawMask() {
    const { probability } = state.result, least = threshold(), { levels } = state.image;
    part("threshold-value").textContent = least.toFixed(2);
    let contaminated = 0;
    draw("overlay", (i, data, at) => {
      greyAt(data, at, levels[i]);
      if (probability[i] < least) return;
      contaminated++;
      for (let c = 0; c < 3; c++) data[at + c] = (1 - OPACITY) * levels[i] + OPACITY * RED[c];
    });
    draw("mask", (i, data, at) => greyAt(data, at, probability[i] >= least ? 255 : 0));
    const percent = 100 * contaminated / probability.length;
    part("fraction").textContent = `${percent.toFixed(2)} %`;
  }

  const SOURCES = {
    given: "given by you", file: "from the file", lattice: "measured from the lattice of graphene",
  };

  function describe() {
    const { result, image, about } = state;
    const { pixelSize, source, factor, networkHeight, networkWidth } = result;
    part("name").textContent = state.name;
    part("size").textContent = `${image.width} × ${image.height} px`;
    part("pixel-size").textContent = pixelSize === null
      ? "unknown" : `${pixelSize.toPrecision(4)} Å per pixel, ${SOURCES[source]}`;
    part("scale").textContent = factor === 1
      ? "as it is" : `at ${networkWidth} × ${networkHeight} px`;
    const [expected, low, high] = (result.expected ?? []).map((value) => value.toFixed(2));
    part("quality").textContent = result.expected
      ? `${expected}; for nine of ten such images ${low} to ${high}` : "not known, see the warning";
    part("verdict").textContent = result.verdict || "too small to be judged";
    part("digest").textContent = about.digest;
    const list = part("warnings");
    list.replaceChildren(...result.warnings.map((warning) => {
      const item = document.createElement("li");
      item.textContent = warning;
      return item;
    }));
    list.hidden = result.warnings.length === 0;
  }

  // ---- the steps

  let queue = Promise.resolve(); // one file after the other

  const inTurn = (step) => { queue = queue.then(step); return queue; };

  async function attempt(step) {
    element.setAttribute("aria-busy", "true");
    try {
      await step();
    } catch (error) {
      say(error.message, true);
    }
    element.removeAttribute("aria-busy");
  }

  function forget() {
    Object.assign(state, { image: null, result: null });
    part("results").hidden = true;
  }

  async function open(name, bytes) {
    forget();
    state.name = name;
    await start();
    say(`Reading ${name} …`);
    const buffer = await bytes();
    state.image = await ask("read", { name, buffer });
    await segment();
  }

  async function segment() {
    if (!state.image) return;
    const given = parseFloat(part("given-size").value);
    const pixelSize = given > 0 ? given : null, isAveraged = part("averaged").checked;
    say("Working …");
    const begun = performance.now();
    state.result = await ask("segment", { pixelSize, isAveraged },
      (fraction) => say(`Working … ${Math.round(100 * fraction)} %`));
    const seconds = (performance.now() - begun) / 1000;
    describe();
    drawMicrograph();
    drawMask();
    part("results").hidden = false;
    say(`Done in ${seconds.toFixed(1)} s.`);
  }

  const take = (file) => file && inTurn(
    () => attempt(() => open(file.name, () => file.arrayBuffer())));

  // ---- saving

  function save(ending, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = state.name.replace(/\.[^.]*$/, "") + ending;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  const savePicture = (name, ending) => part(name).toBlob((content) => save(ending, content));

  // One strip of 8 bits a pixel, with the pixel size as ImageJ writes it.
  function tiff(pixels, height, width, pixelSize) {
    const text = `ImageJ=1.11a\nimages=1\n${pixelSize ? "unit=nm\n" : ""}\0`;
    const perNanometre = pixelSize ? 10 / pixelSize : 1, denominator = 1e6;
    const entries = [ // tag, type (2 text, 3 short, 4 long, 5 fraction), number, value
      [256, 4, 1, width], [257, 4, 1, height], [258, 3, 1, 8], [259, 3, 1, 1], [262, 3, 1, 1],
      [270, 2, text.length, "text"], [273, 4, 1, "pixels"], [277, 3, 1, 1], [278, 4, 1, height],
      [279, 4, 1, pixels.length], [282, 5, 1, "resolution"], [283, 5, 1, "resolution"],
      [296, 3, 1, 1],
    ];
    const resolution = 8 + 2 + 12 * entries.length + 4, textAt = resolution + 8;
    const places = { resolution, text: textAt, pixels: textAt + text.length };
    const view = new DataView(new ArrayBuffer(places.pixels));
    view.setUint32(0, 0x4d4d002a);
    view.setUint32(4, 8);
    view.setUint16(8, entries.length);
    entries.forEach(([tag, type, count, value], i) => {
      const at = 10 + 12 * i;
      view.setUint16(at, tag);
      view.setUint16(at + 2, type);
      view.setUint32(at + 4, count);
      if (type === 3) view.setUint16(at + 8, value);
      else view.setUint32(at + 8, places[value] ?? value);
    });
    view.setUint32(resolution, Math.round(perNanometre * denominator));
    view.setUint32(resolution + 4, denominator);
    [...text].forEach((character, i) => view.setUint8(textAt + i, character.charCodeAt(0)));
    return new Blob([view, pixels], { type: "image/tiff" });
  }

  function saveTiff() {
    const { probability, height, width, pixelSize } = state.result, least = threshold();
    const pixels = Uint8Array.from(probability, (p) => (p >= least ? 255 : 0));
    save("_mask.tif", tiff(pixels, height, width, pixelSize));
  }

  // ---- connections

  const drop = part("drop"), chosen = part("file");
  chosen.addEventListener("change", () => { take(chosen.files[0]); chosen.value = ""; });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("segment-over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("segment-over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("segment-over");
    take(event.dataTransfer.files[0]);
  });
  part("try").addEventListener("click", () => inTurn(() => attempt(
    () => open("simulated.dm4", () => unpacked("sample")))));
  for (const name of ["given-size", "averaged"]) {
    part(name).addEventListener("change", () => inTurn(() => attempt(segment)));
  }
  part("threshold").addEventListener("input", () => state.result && drawMask());
  part("save-png").addEventListener("click", () => savePicture("mask", "_mask.png"));
  part("save-overlay").addEventListener("click", () => savePicture("overlay", "_overlay.png"));
  part("save-tiff").addEventListener("click", saveTiff);
  part("app").hidden = false;
})();
