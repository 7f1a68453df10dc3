// A component of near-duplicates: who stays against the rule.
import { decide, describe, onState } from "./review.js";

const KIND = "near_duplicate_override";
describe(KIND, (state) => (state ? "stays against the rule" : "follows the rule"));

const cards = [...document.querySelectorAll("[data-candidate]")];

for (const card of cards) {
  const box = card.querySelector(".override");
  box?.addEventListener("change", () => {
    // At most one member may be listed: the one that was gives way in the same decision.
    const changes = box.checked
      ? cards.filter((other) => other !== card && other.dataset.listed === "yes").map((other) => change(other, false))
      : [];
    decide([...changes, change(card, box.checked)], { label: box.checked ? "stays against the rule" : "follows the rule again" });
  });
}

function change(card, after) {
  return { kind: KIND, item: card.dataset.candidate, after, before: card.dataset.listed === "yes", version: Number(card.dataset.version) };
}

onState(({ kind, item, state, version, pending }) => {
  const card = kind === KIND && cards.find((one) => one.dataset.candidate === item);
  if (!card) return;
  const box = card.querySelector(".override");
  if (box) box.checked = state === true;
  if (pending || version === null) return;
  card.dataset.version = version;
  if ((card.dataset.listed === "yes") === (state === true)) return;
  card.dataset.listed = state ? "yes" : "no";
  // Who stays now, and why, is said by the server.
  setTimeout(() => location.reload(), 50);
});
