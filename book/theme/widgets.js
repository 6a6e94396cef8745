// The widget manager typesets labels with the interface of MathJax 2, which MathJax 3 lacks.
document.addEventListener("DOMContentLoaded", () => {
  if (window.MathJax && !window.MathJax.Hub) {
    window.MathJax.Hub = {
      Queue: ([, , element]) =>
        window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([element])),
    };
  }
});

// The picture of the first page: the handle moves the edge between micrograph and mask.
document.addEventListener("DOMContentLoaded", () => {
  for (const handle of document.querySelectorAll(".swipe-handle")) {
    const move = () => handle.closest(".swipe").style.setProperty("--cut", `${handle.value}%`);
    handle.hidden = false;
    handle.addEventListener("input", move);
    move();
  }
});
