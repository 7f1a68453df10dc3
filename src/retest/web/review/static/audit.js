// The audit log: take a decision back, then show the list as it is now.
import { onState, takeBack, toast } from "./review.js";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-take-back]");
  if (!button) return;
  button.disabled = true;
  takeBack([Number(button.dataset.takeBack)], { label: `decision ${button.dataset.takeBack} taken back` });
  toast(`Decision ${button.dataset.takeBack} is taken back`);
});

let soon = 0;
onState(({ pending }) => {
  if (pending) return;
  clearTimeout(soon);
  soon = setTimeout(() => window.htmx?.ajax("GET", location.href, { target: "#found", select: "#found", swap: "outerHTML" }), 200);
});
