// HIT and annotator inspection: rows with the keyboard, leaving HITs out, whose selections a HIT's images show.
import { decide, describe, key, mayDecideKind, onState, toast } from "./review.js";

const KIND = "exclude_hit";
const MOST_CHANGES = 1000;
describe(KIND, (state) => (state === null ? "counts" : `left out: ${state}`));

// --- Rows of a list

let active = -1;
const rows = () => [...document.querySelectorAll("#rows tbody tr")].filter((row) => row.querySelector("a"));

function activate(index) {
  const all = rows();
  if (!all.length) return;
  active = Math.max(0, Math.min(all.length - 1, index));
  all.forEach((row, number) => row.classList.toggle("active", number === active));
  all[active].scrollIntoView({ block: "nearest" });
}

function select(row, on) {
  if (!row?.dataset.item) return;
  row.querySelector(".pick").checked = on;
}

const picked = (row) => Boolean(row?.querySelector(".pick")?.checked);
const open = () => rows()[active]?.querySelector("a").click();

// --- Leaving out

/** The elements that decisions are about: the selected rows, the active one, or the HIT of the page. */
function chosen() {
  const hit = document.getElementById("hit");
  if (hit) return [hit];
  const marked = rows().filter(picked);
  return marked.length ? marked : [rows()[active]].filter((row) => row?.dataset.item);
}

function leaveOut(after, label) {
  const places = chosen();
  if (!places.length) return toast("Select HITs first");
  const changes = [];
  for (const { dataset } of places) {
    const before = JSON.parse(dataset.state);
    if (before !== after) changes.push({ kind: KIND, item: dataset.item, after, before, version: Number(dataset.version) });
  }
  if (!changes.length) return toast("They are already");
  for (let start = 0; start < changes.length; start += MOST_CHANGES) decide(changes.slice(start, start + MOST_CHANGES), { label });
  return undefined;
}

function exclude() {
  const reason = document.getElementById("reason").value.trim();
  return reason ? leaveOut(reason, `HIT left out: ${reason}`) : toast("Give a reason first");
}

const include = () => leaveOut(null, "HIT counts again");

let soon = 0;
onState(({ kind, item, state, version, pending }) => {
  if (kind !== KIND) return;
  for (const place of document.querySelectorAll("[data-item]")) {
    if (place.dataset.item !== item) continue;
    place.dataset.state = JSON.stringify(state ?? null);
    if (version !== null && version !== undefined) place.dataset.version = version;
    place.classList.toggle("out", state !== null);
    const reason = place.querySelector(".reason");
    if (reason) reason.textContent = state ?? "";
    if (place.id === "hit" && !pending) {
      // The frequencies of its images have followed.
      clearTimeout(soon);
      soon = setTimeout(() => window.htmx?.ajax("GET", location.href, { target: "#hit", select: "#hit", swap: "outerHTML" }), 100);
    }
  }
});

document.addEventListener("click", (event) => {
  const action = event.target.closest("[data-action]")?.dataset.action;
  if (action === "exclude") exclude();
  if (action === "include") include();
  const watched = event.target.closest("[data-watch]");
  if (watched) watch(watched.dataset.watch);
  const row = event.target.closest("#rows tbody tr");
  if (row && !event.target.closest("a, button")) activate(rows().indexOf(row));
  if (event.target.id === "all") rows().forEach((one) => select(one, event.target.checked));
});

// --- One annotator's selections in a HIT

function watch(number) {
  const button = document.querySelector(`[data-watch="${number}"]`);
  const list = document.getElementById("images");
  if (!list || (number && (!button || button.disabled))) return;
  const on = Boolean(button) && button.getAttribute("aria-pressed") !== "true";
  for (const other of document.querySelectorAll("[data-watch]")) other.setAttribute("aria-pressed", String(on && other === button));
  list.classList.toggle("watched", on);
  for (const image of list.children) image.classList.toggle("chosen", on && image.dataset.by.split(" ").includes(String(number)));
}

// --- Keys

const go = (id) => document.getElementById(id)?.click();
if (document.getElementById("hit")) {
  key("n", "Next HIT of the list", () => go("after"));
  key("p", "HIT before", () => go("before"));
  for (const number of [1, 2, 3, 4, 5, 6, 7, 8, 9]) key(String(number), `Show what annotator ${number} selected`, () => watch(number));
  key("0", "Show what annotator 10 selected", () => watch(10));
  key("Escape", "Show everybody's selections", () => watch(0));
  key("o", "Images as shown, or most selected first", () => go("reorder"));
  key("c", "Go to the class", () => go("class"));
} else {
  key("ArrowDown", "Next row", () => activate(active + 1));
  key("ArrowUp", "Row before", () => activate(active - 1));
  key("j", "Next row", () => activate(active + 1));
  key("k", "Row before", () => activate(active - 1));
  key("Enter", "Open", open);
  key("n", "Next page", () => go("following"));
  if (mayDecideKind(KIND) && document.getElementById("reason")) {
    key(" ", "Add to the selection, or take away", () => select(rows()[active], !picked(rows()[active])));
    key("Ctrl+a", "Select all rows", () => rows().forEach((row) => select(row, true)));
  }
}
if (mayDecideKind(KIND) && document.getElementById("reason")) {
  key("e", "Leave the HIT out, with the reason in the field", () => void exclude());
  key("i", "Let it count again", () => void include());
  key("r", "Go to the reason", () => document.getElementById("reason").focus());
}
