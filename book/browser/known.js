// Is an image like those that the network was trained on, and what quality is to be expected?
//
// Mirrors graphseg.evaluation.ood (statistics, features, ReferenceSet, judge) and, of
// graphseg.evaluation.quality, the expected Jaccard index and covered.
"use strict";

const SIDE = 256; // pixels; side of the fields that are judged
const FEW = 4; // up to as many times the area of a field, its middle has to do
const BANDS = 16; // rings of equal width in the spectrum, up to half a cycle per pixel
const QUANTILES = [0.001, 0.02, 0.16, 0.5, 0.84, 0.98, 0.999];
const FEATURE_FLOOR = 1e-9; // keeps logarithms finite
const SATURATED = 0.05; // fraction of pixels of one value
const CALIBRATION_ERROR = 0.1; // of a stated pixel size, relative
const NEARLY_ALL = 0.95; // of an image, from which its mask is suspect
const POSSIBLE = 0.1, CERTAIN = 0.9; // probabilities
const UNLIKE = "is unlike that of the images that the network was trained on";
const PARTS = [ // of the statistics, how many each, and what to say of them
  [4, `its lattice ${UNLIKE}`],
  [3 + QUANTILES.length, `the distribution of its grey levels ${UNLIKE}`],
  [2 * BANDS, `its spectrum, the fraction of fine and coarse structure, ${UNLIKE}`],
];
const GRADES = [
  "like the training images", "other conditions, looks usable",
  "not recognised as HRTEM of graphene",
];
const FEATURES = "the network sees textures in it that its training images do not have";

const total = (values) => values.reduce((sum, value) => sum + value, 0);

function fieldsOf(image) {
  const centres = image.height * image.width > FEW * SIDE ** 2
    ? [[0.5, 0.5], [0.25, 0.25], [0.75, 0.75]] : [[0.5, 0.5]];
  return cut(image, SIDE, centres);
}

function extremeFraction(pixels) {
  let low = Infinity, high = -Infinity, number = 0;
  for (const value of pixels) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  for (const value of pixels) number += value === low || value === high;
  return number / pixels.length;
}

// statistics: what is measured of a field without the network, in the order of PARTS
function statistics(field, lattice) {
  const [mean, deviation] = moments(field.pixels);
  const standard = field.pixels.map((value) => (value - mean) / deviation);
  const [first, second] = lattice.amplitudes.map(Math.abs);
  return [
    Math.log(lattice.score + 0.05), Math.atan2(second, first + 1e-6),
    Math.log(Math.hypot(first, second) + 1e-3), lattice.certainty,
    ...greyStatistics(field.pixels, standard), ...spectrumStatistics(standard, field),
  ];
}

// Skewness, kurtosis, the fraction of extreme pixels and quantiles.
function greyStatistics(pixels, standard) {
  const mean = total(standard) / standard.length, powers = [0, 0, 0];
  for (const value of standard) {
    for (let k = 0; k < 3; k++) powers[k] += (value - mean) ** (k + 2) / standard.length;
  }
  const [square, cube, fourth] = powers;
  const shape = square ? [
    cube / square ** 1.5, Math.log(fourth / square ** 2 + FEATURE_FLOOR),
  ] : [0, 0];
  const sorted = standard.slice().sort();
  const quantiles = QUANTILES.map((fraction) => {
    const place = fraction * (sorted.length - 1), below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  });
  return [...shape, Math.log(extremeFraction(pixels) + 1e-4), ...quantiles];
}

// For each ring its mean power, and how much reflections stand out in it, both as logarithms.
function spectrumStatistics(standard, { height, width }) {
  const [down, across] = [height, width].map((length) => Float64Array.from(
    { length }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / length)));
  const windowed = Float64Array.from(
    standard, (value, i) => value * down[Math.floor(i / width)] * across[i % width]);
  const { re, im, half } = rfft2(windowed, height, width);
  const [numbers, powers, logarithms] = [0, 1, 2].map(() => new Float64Array(BANDS + 1));
  let all = 0;
  re.forEach((value, i) => {
    const y = Math.floor(i / half), row = (y < height / 2 ? y : y - height) / height;
    const radius = Math.hypot(row, i % half / width);
    const ring = Math.min(Math.trunc(radius * 2 * BANDS), BANDS); // the corners come last
    const power = value * value + im[i] * im[i] + FEATURE_FLOOR;
    numbers[ring]++;
    powers[ring] += power;
    logarithms[ring] += Math.log(power);
    all += power;
  });
  const level = Math.log(all / re.length), rings = [...Array(BANDS).keys()];
  const means = rings.map((k) => Math.log(powers[k] / Math.max(numbers[k], 1) + FEATURE_FLOOR));
  const middles = rings.map((k) => logarithms[k] / Math.max(numbers[k], 1));
  return [...means.map((value) => value - level), ...means.map((value, k) => value - middles[k])];
}

// features: the mean of each feature of the encoder over a field
async function features(session, field, multiple) {
  const normal = moments(field.pixels);
  const [height, width] = [field.height, field.width].map((length) => length - length % multiple);
  const { values } = tileOf(field, [0, height], [0, width], normal, multiple);
  const input = new ort.Tensor("float32", values, [1, height, width]);
  return Array.from((await session.run({ image: input })).features.data);
}

const relativeTo = ({ centre, spread }, values) =>
  values.map((value, i) => (value - centre[i]) / spread[i]);

// Gaussian.distances: root mean square distance from the centre of the training images
function distance(gaussian, values) {
  const relative = relativeTo(gaussian, values);
  const along = gaussian.axes.map((axis) => total(axis.map((part, i) => part * relative[i])));
  const squares = total(relative.map((value) => value ** 2));
  const across = Math.max(squares - total(along.map((value) => value ** 2)), 0);
  const scaled = total(along.map((value, k) => value ** 2 / gaussian.variances[k]));
  return Math.sqrt((scaled + across / gaussian.rest) / values.length);
}

// ReferenceSet.ood_score: 1 is the threshold
function oodScore({ gaussians, medians, threshold }, descriptors) {
  const squares = gaussians.map(
    (gaussian, k) => (distance(gaussian, descriptors[k]) / medians[k]) ** 2);
  return Math.sqrt(total(squares) / squares.length) / threshold;
}

// The plain reason why a field is outside, whatever its distance, or "".
function obvious(fraction, lattice, pixelSize) {
  if (fraction > SATURATED) {
    const percent = even(100 * fraction);
    return `${percent}% of its pixels are at the lowest or the highest grey level, cut off`;
  }
  if (!lattice.found) return "no lattice of graphene was found in it";
  if (pixelSize === null) return "";
  const constant = lattice.parameter * pixelSize;
  if (Math.abs(constant / LATTICE_CONSTANT - 1) <= CALIBRATION_ERROR) return "";
  const shown = Number(constant.toPrecision(3));
  return `by its pixel size its lattice constant would be ${shown} Å, and`
    + ` that of graphene is ${LATTICE_CONSTANT} Å`;
}

// What to say of the part of the descriptors that lies farthest out, by its mean square.
function farthest({ gaussians }, descriptors) {
  const [plain, seen] = gaussians.map((gaussian, k) => relativeTo(gaussian, descriptors[k]));
  let start = 0;
  const pieces = PARTS.map(([number, sentence]) => {
    start += number;
    return [plain.slice(start - number, start), sentence];
  });
  pieces.push([seen, FEATURES]);
  const far = pieces.map(([values, sentence]) =>
    [total(values.map((value) => value ** 2)) / values.length, sentence]);
  return far.reduce((most, one) => (one[0] > most[0] ? one : most))[1];
}

// judge: {oodScore, warning} of an image; of a large one the median of three fields counts
async function judge(session, network, image, resized, scale) {
  const { multiple, referenceSet } = network;
  if (Math.min(resized.height, resized.width) < Math.max(SMALLEST_SIDE, multiple)) {
    return { oodScore: null, verdict: "", warning: "" };
  }
  const judged = [];
  for (const field of fieldsOf(resized)) {
    const lattice = measureLattice(field.pixels, field.height, field.width);
    const descriptors = [
      statistics(field, lattice), await features(session, field, multiple)];
    judged.push({ lattice, descriptors, score: oodScore(referenceSet, descriptors) });
  }
  judged.sort((one, other) => one.score - other.score);
  const { lattice, descriptors, score } = judged[judged.length >> 1];
  const size = scale.source === "lattice" || !scale.pixelSize
    ? null : scale.pixelSize / scale.factor;
  const fraction = extremeFraction(fieldsOf(image)[0].pixels); // before resizing hides it
  const plain = obvious(fraction, lattice, size);
  const reason = plain || (score > 1 ? farthest(referenceSet, descriptors) : "");
  const grade = GRADES[plain || score > referenceSet.usable ? 2 : score > 1 ? 1 : 0];
  const warning = grade === GRADES[2]
    ? `The image is outside of what the network knows: ${reason}; ${LOOK}` : "";
  return { oodScore: score, verdict: reason ? `${grade}: ${reason}` : grade, warning };
}

// covered: a sentence if nearly all of a mask is contamination
function covered(fraction) {
  if (fraction < NEARLY_ALL) return "";
  return `${(100 * fraction).toFixed(1)}% of the image is called contaminated, as happens with a `
    + `wrong pixel size or a network for other images; ${LOOK}`;
}

// ExpectedJaccard: [expected, lower, upper] from how much of what may be contamination surely is
function expectedJaccard({ slope, intercept, below, above }, probability) {
  let possible = 0, certain = 0;
  for (const p of probability) {
    possible += p >= POSSIBLE;
    certain += p >= CERTAIN;
  }
  const middle = slope * (possible ? certain / possible : 1) + intercept;
  return [middle, middle - below, middle + above].map((end) => Math.min(Math.max(end, 0), 1));
}
