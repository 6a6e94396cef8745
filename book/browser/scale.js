// Brings an image to the scale of the network. Mirrors graphseg.unet.inference: find_scale, resize.
"use strict";

const TOLERANCE = 0.05; // relative; so little beyond the range, resizing costs more than it gains
const FIELD = 1024; // pixels; side of the parts of a larger image in which the lattice is measured
const SMALLEST_RESIZED = 64; // pixels; below it a network has too little to go by
const LOOK = "do not trust its mask before you have looked at it.";

// Python's round, halves to the even neighbour.
function even(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

// Parts of a larger image about some centres, in units of its sides.
function cut(image, side, centres) {
  return centres.map((centre) => {
    const [top, left] = [image.height, image.width].map((length, axis) => Math.trunc(
      Math.min(Math.max(centre[axis] * length - side / 2, 0), Math.max(length - side, 0))));
    const height = Math.min(side, image.height), width = Math.min(side, image.width);
    const pixels = new Float32Array(height * width);
    for (let y = 0; y < height; y++) {
      const start = (top + y) * image.width + left;
      pixels.set(image.pixels.subarray(start, start + width), y * width);
    }
    return { pixels, height, width };
  });
}

function clearestLattice(image) {
  if (Math.min(image.height, image.width) < SMALLEST_SIDE) return null;
  const parts = Math.max(image.height, image.width) <= FIELD ? [image] : cut(
    image, FIELD, [[0.5, 0.5], [0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]);
  return parts.map((part) => measureLattice(part.pixels, part.height, part.width))
    .reduce((best, one) => (one.score > best.score ? one : best));
}

// find_scale: {pixelSize, source, factor, warning, lattice}; `stated` is Å per pixel or null.
function findScale(image, stated, [low, high], working, source = "file") {
  const lattice = stated ? null : clearestLattice(image);
  const size = stated ?? (lattice?.found ? lattice.pixelSize : null);
  if (size === null) {
    const warning = "Neither a pixel size nor a lattice was found, so the image was taken as it is;"
      + " state its pixel size, or look at its mask before you trust it.";
    return { pixelSize: null, source: "none", factor: 1, warning, lattice };
  }
  let factor = 1;
  if (working) {
    factor = Math.abs(size / working - 1) <= TOLERANCE ? 1 : Math.min(size, high) / working;
  } else if (size < low * (1 - TOLERANCE)) factor = size / Math.sqrt(low * high);
  const seen = `the ${low.toFixed(2)} to ${high.toFixed(2)} Å that the network knows`;
  const per = `With ${Number(size.toPrecision(3))} Å per pixel the`;
  let warning = "";
  if (size > high * (1 + TOLERANCE)) warning = `${per} image is coarser than ${seen}; ${LOOK}`;
  else if (factor < 1 && Math.min(image.height, image.width) * factor < SMALLEST_RESIZED) {
    warning = `${per} field is too small to be brought to ${seen}; ${LOOK}`;
  }
  return { pixelSize: size, source: stated ? source : "lattice", factor, warning, lattice };
}

// The weights with which torch's interpolate(..., antialias=True) mixes pixels along one axis.
function mixing(before, after, isCubic) {
  const f = Math.fround, scale = f(before / after);
  const support = (isCubic ? 2 : 1) * Math.max(scale, 1), inverse = scale >= 1 ? f(1 / scale) : 1;
  const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1
    : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0);
  const linear = (x) => Math.max(1 - x, 0);
  return Array.from({ length: after }, (_, i) => {
    const centre = f(scale * f(i + 0.5));
    const from = Math.max(Math.trunc(centre - support + 0.5), 0);
    const to = Math.min(Math.trunc(centre + support + 0.5), before);
    const weights = Array.from({ length: to - from }, (_, k) =>
      (isCubic ? cubic : linear)(Math.abs((k + from - centre + 0.5) * inverse)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { from, weights: Float64Array.from(weights, (weight) => weight / sum) };
  });
}

// resize: about the corners of pixels, averaging where the image gets smaller.
function resize({ pixels, height, width }, newHeight, newWidth, isCubic) {
  if (height === newHeight && width === newWidth) return { pixels, height, width };
  const across = mixing(width, newWidth, isCubic), down = mixing(height, newHeight, isCubic);
  const half = new Float32Array(height * newWidth), out = new Float32Array(newHeight * newWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++) {
      const { from, weights } = across[x];
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * pixels[y * width + from + k];
      half[y * newWidth + x] = sum;
    }
  }
  for (let y = 0; y < newHeight; y++) {
    const { from, weights } = down[y];
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * half[(from + k) * newWidth + x];
      out[y * newWidth + x] = sum;
    }
  }
  return { pixels: out, height: newHeight, width: newWidth };
}

function atNetworkScale(image, factor) {
  const [height, width] = [image.height, image.width].map((n) => Math.max(even(n * factor), 1));
  return resize(image, height, width, true);
}
