// Shows the Bragg filter at work in a page: sliders, and the panels of Fig. 2 of the paper.
//
// Stands behind explorer.js. The computing is in a worker (fourier.js and bragg.js), which is made
// from text, so that it starts in a page that was opened from a folder. While the worker computes,
// only the newest position of the sliders waits.
"use strict";

function showBraggFilter(element, given) {
  const { height, width, texts, values, engine, limits, frequency, colours } = given;
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const levels = new Uint16Array(bytes(given.image).buffer);
  const image = Float32Array.from(levels, (level) => given.lowest + given.step * level);
  const label = given.label && bytes(given.label);
  const isLabelled = (i) => (label[i >> 3] >> (7 - (i & 7))) & 1; // as numpy.packbits
  const panel = (name) => element.querySelector(`[data-panel="${name}"]`);
  const state = { found: null, values: null, milliseconds: 0, frames: 0, jaccard: null };
  element.graphseg = state; // for tests, and for the curious
  const side = panel("spectrum").querySelector("canvas").width;
  let spectrum = null, waiting = null, isBusy = false;

  const say = (name, text) => {
    panel(name).querySelector("[data-part=said]").textContent = text && `: ${text}`;
  };

  function paint(name, colour, said) {
    const canvas = panel(name).querySelector("canvas"), picture = new ImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
    canvas.getContext("2d").putImageData(picture, 0, 0);
    say(name, said);
  }

  // Colours of pixels as numbers, red in the lowest byte.
  const greyOf = (value, low, high) => {
    const level = Math.round(255 * Math.min(Math.max((value - low) / (high - low), 0), 1));
    return (level * 0x010101 | 0xff000000) >>> 0;
  };
  const grey = (array, [low, high]) => (i) => greyOf(array[i], low, high);
  const errorColours = colours.errors.map(([r, g, b]) => (r | g << 8 | b << 16 | 0xff000000) >>> 0);

  // The spectrum without its peaks: a logarithmic grey scale over a factor of 100.
  function pictureOf(spectrum) {
    const half = (width >> 1) + 1, highest = spectrum.reduce((a, b) => Math.max(a, b), 1e-12);
    const picture = new ImageData(side, side), pixels = new Uint32Array(picture.data.buffer);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) { // frequency zero is in the middle
        const [down, across] = [y, x].map((at) => (2 * (at + 0.5) / side - 1) * frequency);
        const sign = across < 0 ? -1 : 1; // left of it stands the mirror image
        const row = (Math.round(sign * down * height) + height) % height;
        const value = spectrum[row * half + Math.round(sign * across * width)];
        pixels[y * side + x] = greyOf(Math.log10(Math.max(value / highest, 0.01)), -2, 0);
      }
    }
    return picture;
  }

  function paintSpectrum({ peaks, used }, sigma) {
    const context = panel("spectrum").querySelector("canvas").getContext("2d");
    context.putImageData(spectrum, 0, 0);
    const place = (q) => (q / frequency + 1) / 2 * side;
    peaks.forEach(([down, across], i) => {
      for (const sign of [1, -1]) {
        const x = place(sign * across), y = place(sign * down);
        context.beginPath();
        if (used[i]) {
          context.arc(x, y, sigma / frequency * side, 0, 2 * Math.PI); // a radius of two sigma
        } else {
          context.moveTo(x - 3, y - 3);
          context.lineTo(x + 3, y + 3);
          context.moveTo(x - 3, y + 3);
          context.lineTo(x + 3, y - 3);
        }
        context.strokeStyle = used[i] ? colours.used : colours.unused;
        context.lineWidth = 1.5;
        context.stroke();
      }
    });
    say("spectrum", `${used.filter(Boolean).length} pairs used`);
  }

  function show({ found, values: chosen, milliseconds }) {
    const { lattice, difference, residual, mask } = found;
    const highest = residual.reduce((a, b) => Math.max(a, b), 1e-6);
    const area = mask.reduce((a, b) => a + b, 0) / mask.length;
    paintSpectrum(found, chosen.width);
    paint("lattice", grey(lattice, limits), "");
    paint("difference", grey(difference, limits), "");
    paint("residual", grey(residual, [0, highest]), `0 to ${highest.toFixed(2)}`);
    paint("mask", grey(mask, [0, 1]), `${(100 * area).toFixed(1)} %`);
    let jaccard = null;
    if (label) {
      const counts = [0, 0, 0, 0]; // true negative, false positive, false negative, true positive
      for (let i = 0; i < mask.length; i++) counts[2 * isLabelled(i) + mask[i]]++;
      const union = counts[1] + counts[2] + counts[3];
      jaccard = union ? counts[3] / union : 1;
      const colour = (i) => errorColours[2 * isLabelled(i) + mask[i]];
      paint("errors", colour, `Jaccard ${jaccard.toFixed(3)}`);
    }
    Object.assign(state, { found, values: chosen, milliseconds, jaccard });
    state.frames++;
    element.querySelector("[data-part=time]").textContent = `${milliseconds.toFixed(0)} ms`;
  }

  const worker = new Worker(URL.createObjectURL(new Blob([engine], { type: "text/javascript" })));
  const next = () => {
    isBusy = waiting !== null;
    element.toggleAttribute("aria-busy", isBusy);
    if (isBusy) worker.postMessage({ values: waiting });
    waiting = null;
  };
  worker.onmessage = ({ data }) => {
    if (data.spectrum) spectrum = pictureOf(data.spectrum);
    else show(data);
    next();
  };
  worker.onerror = () => {
    element.querySelectorAll("[data-control]").forEach((control) => { control.disabled = true; });
    const off = element.querySelector(".explorer-off");
    [off.hidden, off.textContent] = [false, "The Bragg filter did not start in this browser."];
  };
  isBusy = true;
  const { taper, peakBlur, padding, mostPeaks } = given;
  worker.postMessage({
    start: { image, height, width, taper, peakBlur, padding, mostPeaks },
  });
  paint("micrograph", grey(image, limits), "");
  if (label) paint("label", (i) => greyOf(isLabelled(i), 0, 1), "");
  startExplorer(element, texts, (positions) => {
    waiting = Object.fromEntries(
      Object.entries(positions).map(([name, at]) => [name, values[name][at]]));
    if (!isBusy) next();
  });
}
