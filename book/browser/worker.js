// Answers the page's requests in a thread of its own: the page stays usable, and can stop it.
//
// Mirrors graphseg.unet.inference.predict_proba and graphseg.batch.tasks.Network.predict.
"use strict";

const SMALLEST = 8; // pixels of an image at the network's scale
let session = null, network = null, image = null;

const REQUESTS = {
  async start({ about, ...bytes }) {
    network = about;
    session = await startNetwork(bytes);
    return {};
  },

  // The image stays here; the page gets grey levels to show.
  async read({ name, buffer }) {
    image = null;
    image = { name, ...await readMicrograph(name, buffer) };
    const { height, width, pixelSize } = image;
    return { height, width, pixelSize, levels: greyLevels(image.pixels) };
  },

  async segment({ pixelSize, isAveraged }, progress) {
    const scale = findScale(
      image, pixelSize ?? image.pixelSize, network.pixelSizes, network.workingPixelSize,
      pixelSize ? "given" : "file");
    const resized = atNetworkScale(image, scale.factor);
    if (Math.min(resized.height, resized.width) < SMALLEST) {
      const small = "has too few pixels for the network; give a larger field.";
      throw new InputError(`${image.name} ${small}`);
    }
    const verdict = await judge(session, network, image, resized, scale);
    const pixels = await predictProba(session, network, resized, isAveraged, progress);
    const probability = resize({ ...resized, pixels }, image.height, image.width, false).pixels;
    const contaminated = probability.reduce((n, p) => n + (p >= network.threshold), 0);
    const warnings = [
      scale.warning, verdict.warning, covered(contaminated / probability.length)].filter(Boolean);
    const { lattice, ...found } = scale;
    const line = network.expectedJaccard[isAveraged ? "eight views" : "one view"];
    return {
      ...found, probability, height: image.height, width: image.width, warnings,
      networkHeight: resized.height, networkWidth: resized.width, oodScore: verdict.oodScore,
      verdict: verdict.verdict,
      // The line was fitted to images like those that the network knows; of others it says nothing.
      expected: warnings.length ? null : expectedJaccard(line, probability),
    };
  },
};

// From 0 to 255 between the half-percent quantiles, as graphseg.io.outputs.grey_levels.
function greyLevels(pixels) {
  const step = Math.max(1, Math.floor(pixels.length / 2 ** 16)); // enough for quantiles
  const sorted = pixels.filter((_, i) => i % step === 0).sort();
  const [low, high] = [0.005, 0.995].map((q) => sorted[Math.round(q * (sorted.length - 1))]);
  return Uint8ClampedArray.from(pixels, (value) => 255 * (value - low) / (high - low || 1));
}

self.onmessage = async ({ data: { id, request, ...given } }) => {
  try {
    const answer = await REQUESTS[request](
      given, (fraction) => self.postMessage({ id, progress: fraction }));
    self.postMessage({ id, answer });
  } catch (error) {
    const refused = error instanceof InputError ? error.message : null;
    self.postMessage({ id, refused, error: String(error?.stack ?? error) });
  }
};
