// Revision review: flags of a class, with the keyboard; carrying reviews over.
import { api, decide, describe, key, onState, problemOf, toast } from "./review.js";

const KIND = "class_review";
describe(KIND, (state) => [state?.reviewed ? "reviewed" : "not reviewed", state?.problematic ? "problematic" : ""].filter(Boolean).join(", "));

const bar = document.getElementById("class-review");
if (bar) {
  const state = { reviewed: bar.dataset.reviewed === "true", problematic: bar.dataset.problematic === "true" };
  let version = Number(bar.dataset.version);
  const set = (flag) => {
    decide([{ kind: KIND, item: bar.dataset.item, after: { ...state, [flag]: !state[flag] }, before: { ...state }, version }], { label: `class ${flag}` });
  };
  const go = (name) => document.getElementById(name)?.click();
  for (const button of bar.querySelectorAll("[data-flag]")) button.addEventListener("click", () => set(button.dataset.flag));
  onState((detail) => {
    if (detail.kind !== KIND || detail.item !== bar.dataset.item || !detail.state) return;
    state.reviewed = detail.state.reviewed === true;
    state.problematic = detail.state.problematic === true;
    if (!detail.pending && detail.version !== null) version = detail.version;
    for (const button of bar.querySelectorAll("[data-flag]")) button.setAttribute("aria-pressed", String(state[button.dataset.flag]));
  });
  key("r", "Reviewed, or not", () => set("reviewed"));
  key("b", "Problematic, or not", () => set("problematic"));
  key("Enter", "Reviewed, and on to the next class", () => {
    if (!state.reviewed) set("reviewed");
    go("after");
  });
  key("n", "Next class", () => go("after"));
  key("p", "Class before", () => go("before"));
}

const other = () => document.getElementById("other").value;
const name = document.getElementById("carry")?.dataset.new;
document.getElementById("difference")?.addEventListener("click", () => {
  location.href = `/review/revision/diff?old=${encodeURIComponent(other())}&new=${encodeURIComponent(name)}`;
});
document.getElementById("carry-over")?.addEventListener("click", async () => {
  try {
    const { decided } = await api("/revision/carry-over", { body: { old: other(), new: name } });
    toast(`${decided.length} classes carried over`);
    if (decided.length) setTimeout(() => location.reload(), 600);
  } catch (error) {
    toast(problemOf(error), { kind: "problem" });
  }
});
