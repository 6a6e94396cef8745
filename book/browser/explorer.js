// Sliders and lists over a picture in a page: what they say, and what is to be done when one moves.
//
// The markup is from book/tools/explore.py: each control counts through texts, and is disabled until
// this runs, so that a page without scripts shows nothing that it cannot do.
"use strict";

// Calls show(positions of the controls by name) now and whenever one moves.
function startExplorer(element, texts, show) {
  const controls = [...element.querySelectorAll("[data-control]")];
  const position = (control) => Number(control.value);
  const update = () => {
    for (const control of controls) {
      const text = texts[control.dataset.control][position(control)];
      const output = control.parentElement.querySelector("output");
      if (!output) continue; // a list shows what is chosen
      output.textContent = text;
      control.setAttribute("aria-valuetext", text);
    }
    show(Object.fromEntries(controls.map(
      (control) => [control.dataset.control, position(control)])));
  };
  for (const control of controls) {
    control.disabled = false;
    control.addEventListener("input", update);
  }
  element.querySelector(".explorer-off").hidden = true;
  update();
}

// A picture for each position of the controls, the last of which counts fastest.
function showFrames(element, { texts, labels, frames, alt }) {
  const picture = element.querySelector("img"), names = Object.keys(texts), first = picture.src;
  startExplorer(element, texts, (positions) => {
    const frame = names.reduce((at, name) => at * texts[name].length + positions[name], 0);
    picture.src = frames[frame] ? `data:image/webp;base64,${frames[frame]}` : first;
    const said = names.map((name) => `${labels[name]} ${texts[name][positions[name]]}`);
    picture.alt = `${alt} Here: ${said.join(", ")}.`;
  });
}
