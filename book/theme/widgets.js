// The picture of the first page: the handle moves the edge between micrograph and mask.
document.addEventListener("DOMContentLoaded", () => {
  for (const handle of document.querySelectorAll(".swipe-handle")) {
    const move = () => handle.closest(".swipe").style.setProperty("--cut", `${handle.value}%`);
    handle.hidden = false;
    handle.addEventListener("input", move);
    move();
  }
});
