// A figure opens at its full size on a click; there it scrolls. Without scripts its link leads to
// the picture alone.
document.addEventListener("DOMContentLoaded", () => {
  const LEGIBLE = 900; // CSS pixels that a figure as wide as the page needs for its smallest text
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.setAttribute("aria-label", "Enlarged figure");
  dialog.innerHTML =
    '<button type="button">Close</button><div class="zoom-scroll" tabindex="0"><img alt=""></div>';
  const picture = dialog.querySelector("img");
  const fit = () => {
    const most = picture.src.endsWith(".svg") ? Infinity : picture.naturalWidth;
    picture.style.width = `${Math.min(most, Math.max(window.innerWidth - 48, LEGIBLE))}px`;
  };
  picture.addEventListener("load", fit);
  dialog.addEventListener("click", () => dialog.close());
  for (const link of document.querySelectorAll("a.zoom-link")) {
    link.title = "Enlarge";
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      if (!dialog.isConnected) document.body.append(dialog);
      picture.alt = link.querySelector("img").alt;
      picture.src = link.href;
      dialog.showModal();
    });
  }
});

// What is wider than the page scrolls by itself, and can be reached with the keyboard then.
document.addEventListener("DOMContentLoaded", () => {
  const watch = new ResizeObserver((seen) => {
    for (const { target } of seen) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  const wide = ".pst-scrollable-table-container, pre, div.math, .cell_output .output";
  document.querySelectorAll(`article :is(${wide})`).forEach((element) => watch.observe(element));
});
