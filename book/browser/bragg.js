// The Bragg filter (eqs 4 to 6) of one image, for sliders: what they leave alone is kept.
//
// Mirrors graphseg.classical.fourier: find_peaks, lattice_image, local_mean and decompose. It stands
// behind fourier.js in a worker, which gets {start: settings} once and then {values} as they change.
"use strict";

// How far from the middle one of three logarithms of heights a parabola through them peaks, in bins.
function vertex(before, at, after) {
  [before, at, after] = [before, at, after].map((height) => Math.log(Math.max(height, 1.2e-38)));
  const curvature = before - 2 * at + after;
  const shift = curvature < 0 ? (before - after) / (2 * curvature) : 0;
  return Math.min(Math.max(shift, -0.5), 0.5);
}

// The highest maxima of a spectrum, one of each pair: [row frequency, column frequency, height].
function findPeaks(spectrum, height, width, count) {
  const half = (width >> 1) + 1;
  const at = (y, x) => {
    const row = x < 0 ? height - y : y; // left of zero stands the mirror image
    return spectrum[(row + height) % height * half + Math.abs(x)];
  };
  const found = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < half - 1; x++) {
      const top = at(y, x);
      if (!(top > 0) || (x === 0 && (y === 0 || y > height >> 1))) continue;
      let isHighest = true;
      for (let i = -1; i <= 1; i++) {
        for (let j = -1; j <= 1; j++) isHighest &&= at(y + i, x + j) <= top;
      }
      if (isHighest) found.push([y, x, top]);
    }
  }
  found.sort((a, b) => b[2] - a[2]);
  return found.slice(0, count).map(([y, x, top]) => {
    const down = (y + vertex(at(y - 1, x), top, at(y + 1, x))) / height;
    const across = (x + vertex(at(y, x - 1), top, at(y, x + 1))) / width;
    return [(down + 0.5) % 1 - 0.5, across, top];
  });
}

// The next length of which scipy.fft makes a fast real transform: no prime factor above 5.
function fastLength(length) {
  for (; ; length++) {
    let rest = length;
    for (const prime of [2, 3, 5]) while (rest % prime === 0) rest /= prime;
    if (rest === 1) return length;
  }
}

// How much of an aperture of width sigma lies inside the image along one side.
function support(length, padded, sigma) {
  const re = new Float64Array(padded).fill(1, 0, length), im = new Float64Array(padded);
  fft(re, im);
  for (let i = 0; i < padded; i++) {
    const weight = Math.exp(-((Math.min(i, padded - i) / padded / sigma) ** 2) / 2);
    re[i] *= weight;
    im[i] *= -weight; // conjugated, the transform is the inverse
  }
  fft(re, im);
  return re.subarray(0, length).map((value) => value / padded);
}

// What lattice_image of one image needs, whatever the sliders say: its padded transform.
function transformed(image, height, width, padding) {
  const rows = fastLength(height + 2 * padding), columns = fastLength(width + 2 * padding);
  const padded = new Float64Array(rows * columns);
  for (let y = 0; y < height; y++) {
    padded.set(image.subarray(y * width, (y + 1) * width), y * columns);
  }
  return { ...rfft2(padded, rows, columns), rows, columns };
}

// I_B of eq. 5: the image seen through Gaussian apertures at some peaks and their opposites.
function latticeImage({ re, im, half, rows, columns }, height, width, peaks, sigma) {
  const aperture = new Float64Array(rows * half), across = new Float64Array(half);
  const bell = (frequency, centre) => {
    const distance = (((frequency - centre + 0.5) % 1) + 1) % 1 - 0.5; // on a circle
    return Math.exp(-((distance / sigma) ** 2) / 2);
  };
  for (const [down, right] of peaks) {
    for (const sign of [1, -1]) {
      for (let x = 0; x < half; x++) across[x] = bell(x / columns, sign * right);
      for (let y = 0; y < rows; y++) {
        const weight = bell(y / rows, sign * down), line = y * half;
        if (weight < 1e-10) continue;
        for (let x = 0; x < half; x++) aperture[line + x] += weight * across[x];
      }
    }
  }
  const passedRe = re.slice(), passedIm = im.slice();
  for (let i = 0; i < aperture.length; i++) {
    passedRe[i] *= aperture[i];
    passedIm[i] *= aperture[i];
  }
  const filtered = irfft2(passedRe, passedIm, rows, columns, height);
  const inside = [support(height, rows, sigma), support(width, columns, sigma)];
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const down = inside[0][y];
    for (let x = 0; x < width; x++) {
      out[y * width + x] = filtered[y * columns + x] / (down * inside[1][x]);
    }
  }
  return out;
}

// Averages along columns with a Gaussian whose weights inside the image add up to one; transposed.
function smoothed(image, height, width, deviation) {
  const reach = Math.ceil(4 * deviation), out = new Float32Array(height * width);
  const kernel = Float64Array.from(
    { length: reach + 1 }, (_, i) => Math.exp(-(i * i) / (2 * deviation * deviation)));
  const line = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    let sum = kernel[0];
    for (let x = 0; x < width; x++) line[x] = kernel[0] * image[y * width + x];
    for (let k = 1; k <= reach; k++) { // rows above and below have the same weight
      const weight = kernel[k], above = (y - k) * width, below = (y + k) * width;
      if (above >= 0 && y + k < height) {
        for (let x = 0; x < width; x++) line[x] += weight * (image[above + x] + image[below + x]);
        sum += 2 * weight;
      } else if (above >= 0 || y + k < height) {
        const only = above >= 0 ? above : below;
        for (let x = 0; x < width; x++) line[x] += weight * image[only + x];
        sum += weight;
      }
    }
    for (let x = 0; x < width; x++) out[x * height + y] = line[x] / sum;
  }
  return out;
}

function localMean(image, height, width, deviation) {
  if (deviation === 0) return image;
  return smoothed(smoothed(image, height, width, deviation), width, height, deviation);
}

// One image for all positions of the sliders.
function braggFilter({ image, height, width, taper, peakBlur, padding, mostPeaks }) {
  const spectrum = weightedSpectrum(image, height, width, taper, peakBlur);
  const peaks = findPeaks(spectrum, height, width, mostPeaks);
  const kept = transformed(image, height, width, padding);
  return ({ width: sigma, threshold, level, pairs, smoothing }) => {
    const used = peaks.slice(0, pairs).map((peak) => peak[2] >= threshold);
    const chosen = peaks.filter((_, i) => used[i]);
    const lattice = chosen.length
      ? latticeImage(kept, height, width, chosen, sigma) : new Float32Array(height * width);
    const difference = new Float32Array(height * width), absolute = difference.slice();
    for (let i = 0; i < image.length; i++) {
      difference[i] = image[i] - lattice[i];
      absolute[i] = Math.abs(difference[i]);
    }
    const residual = localMean(absolute, height, width, smoothing);
    const mask = new Uint8Array(height * width);
    for (let i = 0; i < mask.length; i++) mask[i] = residual[i] >= level ? 1 : 0;
    return { peaks: peaks.slice(0, pairs), used, lattice, difference, residual, mask };
  };
}

let filter = null;

self.onmessage = ({ data: { start, values } }) => {
  if (start) {
    filter = braggFilter(start);
    const { image, height, width, taper } = start;
    // As figures show it: less blurred than for the search.
    self.postMessage({ spectrum: weightedSpectrum(image, height, width, taper, 0.7) });
    return;
  }
  const begun = performance.now();
  const found = filter(values);
  const { lattice, difference, residual, mask } = found;
  self.postMessage({ found, values, milliseconds: performance.now() - begun },
    [lattice, difference, residual, mask].map((array) => array.buffer));
};
