// The class browser: a virtual grid (only visible tiles exist), filters in the address, selection, marks.
import { api, decide, describe, element, key, mayDecide, onState, pendingChanges, prefetch, problemOf, redo, toast, undo, untilAnswered } from "./review.js";

const form = document.getElementById("filters");
const grid = document.getElementById("grid");
const canvas = document.getElementById("canvas");
const wnid = new URLSearchParams(location.search).get("wnid");
const LIMIT = 200;
const GAP = 6;
const CAPTION = 24;
const MOST_CHANGES = 1000;

let images = [];
let byId = new Map();
let total = 0;
let next = null;
let loading = null;
let run = 0;
let columns = 1;
let size = Number(form.elements.size.value);
let active = -1;
let anchor = -1;
const selected = new Set();
const tiles = new Map();

// --- The address holds every filter

const DEFAULTS = { sort: "frequency", descending: "true", near_duplicate: "any", excluded: "any", problematic: "any", size: "140", originals: "24" };

function parameters() {
  const chosen = new URLSearchParams({ wnid });
  for (const [name, value] of new FormData(form)) {
    if (value !== "" && DEFAULTS[name] !== value) chosen.append(name, value);
  }
  return chosen;
}

function filters() {
  const query = {};
  for (const [name, value] of parameters()) {
    if (name !== "size" && name !== "originals") query[name] = name in query ? [query[name], value].flat() : value;
  }
  return query;
}

function restore() {
  const chosen = new URLSearchParams(location.search);
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") field.checked = chosen.getAll(field.name).includes(field.value);
    else field.value = chosen.get(field.name) ?? DEFAULTS[field.name] ?? "";
  }
}

const address = () => `${location.pathname}?${parameters()}`;

// --- Loading, page after page

async function reload() {
  run += 1;
  images = [];
  byId = new Map();
  total = 0;
  next = null;
  loading = null;
  selected.clear();
  active = anchor = -1;
  for (const tile of tiles.values()) tile.remove();
  tiles.clear();
  grid.scrollTop = 0;
  grid.setAttribute("aria-busy", "true");
  await more();
}

function more() {
  if (loading) return loading;
  const mine = fetchPage(run).then((arrived) => {
    if (loading !== mine) return;
    loading = null;
    if (arrived) draw(); // perhaps what is looked at lies further down
  });
  loading = mine;
  return mine;
}

async function fetchPage(mine) {
  let answer;
  try {
    const ask = () => api("/candidates", { query: { ...filters(), after: next, limit: LIMIT } });
    answer = await untilAnswered(ask, "The images are", () => mine === run);
  } catch (error) {
    if (mine !== run) return false;
    grid.setAttribute("aria-busy", "false");
    document.getElementById("count").textContent = problemOf(error);
    return false;
  }
  if (mine !== run) return false;
  if (answer.total !== null) total = answer.total;
  for (const item of answer.candidates) {
    byId.set(item.id, images.length);
    images.push(item);
  }
  next = answer.next;
  if (next === null) total = images.length;
  for (const change of pendingChanges()) apply({ ...change, state: change.after, version: null, pending: true });
  grid.setAttribute("aria-busy", "false");
  layout();
  return true;
}

// --- Drawing: only what is visible, and a screen above and below

const LOOKS = ["wnid", "sort", "descending", "size", "originals"];
const filtered = () => [...new URLSearchParams(location.search)].some(([name, value]) => !LOOKS.includes(name) && value !== (DEFAULTS[name] ?? ""));

function layout() {
  size = Number(form.elements.size.value);
  const width = grid.clientWidth - 2 * GAP;
  columns = Math.max(1, Math.floor((width + GAP) / (size + GAP)));
  canvas.style.setProperty("height", `${Math.ceil(total / columns) * (size + CAPTION + GAP) + 2 * GAP}px`);
  document.getElementById("originals").style.setProperty("--size", `${size}px`);
  document.getElementById("count").textContent = total
    ? `${total.toLocaleString("en")} ${total === 1 ? "candidate" : "candidates"}`
    : (filtered() ? "No candidate fits these filters." : "This class has no candidates yet: retest search finds them.");
  for (const [index, tile] of tiles) place(tile, index);
  draw();
}

function place(tile, index) {
  const step = size + GAP;
  const left = GAP + (index % columns) * step;
  const top = GAP + Math.floor(index / columns) * (step + CAPTION);
  tile.style.setProperty("transform", `translate(${left}px, ${top}px)`);
  tile.style.setProperty("width", `${size}px`);
  tile.style.setProperty("height", `${size + CAPTION}px`);
}

function draw() {
  const rowHeight = size + CAPTION + GAP;
  const first = Math.max(0, Math.floor(grid.scrollTop / rowHeight) - 2) * columns;
  const last = Math.min(total, (Math.ceil((grid.scrollTop + grid.clientHeight) / rowHeight) + 2) * columns);
  for (const [index, tile] of tiles) {
    if (index < first || index >= last) {
      tile.remove();
      tiles.delete(index);
    }
  }
  for (let index = first; index < Math.min(last, images.length); index += 1) {
    if (!tiles.has(index)) {
      const tile = make(index);
      tiles.set(index, tile);
      canvas.append(tile);
    }
  }
  const ahead = Math.min(images.length, last + 3 * columns * Math.ceil(grid.clientHeight / rowHeight));
  prefetch(images.slice(last, Math.min(ahead, last + 60)).filter((item) => item.stored).map((item) => item.image));
  if (next !== null && ahead >= images.length) more();
}

function make(index) {
  const tile = element("div", { id: `tile-${index}`, class: "tile", role: "option", "aria-setsize": total, "aria-posinset": index + 1 });
  tile.dataset.index = index;
  tile.append(element("img", { src: images[index].image, alt: "", decoding: "async", draggable: "false" }), element("div", { class: "caption" }), element("div", { class: "marks" }));
  place(tile, index);
  dress(tile, index);
  return tile;
}

function dress(tile, index) {
  const item = images[index];
  const marks = marksOf(item);
  tile.classList.toggle("excluded", item.exclusion.state !== null);
  tile.classList.toggle("pending", Boolean(item.pending?.size));
  tile.classList.toggle("active", index === active);
  tile.setAttribute("aria-selected", selected.has(item.id) ? "true" : "false");
  tile.setAttribute("aria-label", [`Candidate ${index + 1}`, words(item), ...marks.map(([, text]) => text)].join(", "));
  tile.title = [item.id, words(item), item.date_taken ? `taken ${item.date_taken}` : "", ...marks.map(([, text]) => text)].filter(Boolean).join("\n");
  tile.querySelector(".caption").replaceChildren(element("span", {}, item.frequency === null ? "–" : item.frequency.toFixed(2)), element("span", {}, item.num_assignments ? `${item.num_selected}/${item.num_assignments}` : "no answers"));
  tile.querySelector(".marks").replaceChildren(...marks.map(([kind, text]) => element("span", { class: `mark ${kind}` }, text)));
}

const words = (item) => (item.num_assignments ? `selected by ${item.num_selected} of ${item.num_assignments}` : "no answers yet");

function marksOf(item) {
  const marks = [];
  if (item.exclusion.state) marks.push(["excluded", `excluded: ${item.exclusion.state.reason}`]);
  if (item.problematic.state) marks.push(["problematic", `problematic${item.problematic.state.detail ? `: ${item.problematic.state.detail}` : ""}`]);
  if (item.near_duplicate) marks.push(["duplicate", "near-duplicate, dropped"]);
  else if (item.paired_with.length) marks.push(["duplicate", "near-duplicate, stays"]);
  return marks;
}

function redress(id) {
  const tile = tiles.get(byId.get(id));
  if (tile) dress(tile, byId.get(id));
}

// --- Selection

function choose(index, { toggle = false, range = false } = {}) {
  if (index < 0 || index >= images.length) return;
  const before = new Set(selected);
  if (range && anchor >= 0) {
    if (!toggle) selected.clear();
    for (let i = Math.min(anchor, index); i <= Math.max(anchor, index); i += 1) selected.add(images[i].id);
  } else {
    if (toggle && selected.has(images[index].id)) selected.delete(images[index].id);
    else {
      if (!toggle) selected.clear();
      selected.add(images[index].id);
    }
    anchor = index;
  }
  for (const id of new Set([...before, ...selected])) redress(id);
  activate(index);
}

function clear() {
  const before = [...selected];
  selected.clear();
  before.forEach(redress);
  activate(active);
}

function activate(index) {
  const before = active;
  active = index;
  if (before >= 0 && images[before]) redress(images[before].id);
  if (index >= 0 && images[index]) {
    show(index);
    redress(images[index].id);
    grid.setAttribute("aria-activedescendant", `tile-${index}`);
    detail(index);
  }
  document.getElementById("selected").textContent = selected.size ? `${selected.size.toLocaleString("en")} selected` : "";
}

function show(index) {
  const rowHeight = size + CAPTION + GAP;
  const top = Math.floor(index / columns) * rowHeight;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + rowHeight + GAP > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + rowHeight + GAP - grid.clientHeight;
  draw();
}

function detail(index) {
  const item = images[index];
  if (!item) return;
  const text = [item.id, words(item), item.date_taken && `taken ${item.date_taken}`, !item.stored && "no image stored", ...marksOf(item).map(([, mark]) => mark), item.paired_with.length && `near-duplicate of ${item.paired_with.join(", ")}`];
  document.getElementById("details").textContent = text.filter(Boolean).join(" · ");
}

async function move(index, event) {
  if (!total) return;
  const wanted = Math.max(0, Math.min(total - 1, index));
  for (let before = -1; wanted >= images.length && next !== null && before !== images.length; ) {
    before = images.length;
    await more();
  }
  const reached = Math.min(wanted, images.length - 1);
  if (event.shiftKey) choose(reached, { range: true });
  else if (event.ctrlKey || event.metaKey) activate(reached);
  else choose(reached);
}

const chosen = () => (selected.size ? [...selected] : active >= 0 ? [images[active].id] : []).map((id) => images[byId.get(id)]).filter(Boolean);

// --- Decisions

describe("exclusion", (state) => (state ? `excluded: ${state.reason}` : "not excluded"));
describe("problematic", (state) => (state ? `problematic${state.detail ? `: ${state.detail}` : ""}` : "not problematic"));
describe("near_duplicate_pair", (state) => (state ? "near-duplicates" : "not near-duplicates"));

const FIELDS = { exclusion: "exclusion", problematic: "problematic" };

function mark(kind, after, label) {
  const field = FIELDS[kind];
  const items = chosen().filter((item) => JSON.stringify(item[field].state) !== JSON.stringify(after));
  if (!chosen().length) return toast("Select images first");
  const changes = items.map((item) => ({ kind, item: item.id, after, before: item[field].state, version: item[field].version }));
  for (let start = 0; start < changes.length; start += MOST_CHANGES) {
    const part = changes.slice(start, start + MOST_CHANGES);
    decide(part, { label: `${label} (${part.length})` });
  }
  return undefined;
}

function exclude() {
  const reason = document.getElementById("reason").value.trim();
  if (!reason) return toast("Give a reason first");
  return mark("exclusion", { reason, detail: "" }, `excluded: ${reason}`);
}

function problematic() {
  const all = chosen().every((item) => item.problematic.state);
  return mark("problematic", all ? null : { detail: "" }, all ? "not problematic" : "problematic");
}

const quote = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
const pairItem = (a, b) => (a < b ? [a, b] : [b, a]).map(quote).join("|");

async function pair(together) {
  const items = chosen();
  if (items.length < 2) return toast("Select two or more images first");
  const pairs = new Set();
  if (together) {
    // A star joins them all; the resolution works on what hangs together.
    for (const other of items.slice(1)) pairs.add(pairItem(items[0].id, other.id));
  } else {
    const ids = new Set(items.map((item) => item.id));
    for (const item of items) item.paired_with.filter((id) => ids.has(id)).forEach((id) => pairs.add(pairItem(item.id, id)));
    if (!pairs.size) return toast("No two of them are near-duplicates of each other");
  }
  if (pairs.size > MOST_CHANGES) return toast(`At most ${MOST_CHANGES + 1} images at once`);
  let known = [];
  try {
    known = (await api("/items", { body: { kind: "near_duplicate_pair", items: [...pairs] } })).decided;
  } catch (error) {
    return toast(`Not marked: ${problemOf(error)}`, { kind: "problem" });
  }
  const after = together ? true : null;
  const changes = known.filter((one) => one.state !== after).map((one) => ({ kind: one.kind, item: one.item, after, before: one.state, version: one.version }));
  if (!changes.length) return toast("They are already");
  return decide(changes, { label: together ? "near-duplicates" : "not near-duplicates" });
}

function apply({ kind, item: name, state, version, pending }) {
  if (kind === "near_duplicate_pair") {
    const [a, b] = name.split("|").map(decodeURIComponent);
    for (const [one, other] of [[a, b], [b, a]]) {
      const item = images[byId.get(one)];
      if (!item) continue;
      item.paired_with = item.paired_with.filter((id) => id !== other).concat(state ? [other] : []);
      note(item, kind, pending);
      if (!pending) refreshFate(item);
      redress(one);
    }
    return;
  }
  const item = images[byId.get(name)];
  if (!item || !FIELDS[kind]) return;
  item[FIELDS[kind]] = { state, version: version ?? item[FIELDS[kind]].version };
  note(item, kind, pending);
  redress(name);
  if (byId.get(name) === active) detail(active);
}

function note(item, kind, pending) {
  item.pending ??= new Set();
  if (pending) item.pending.add(kind);
  else item.pending.delete(kind);
}

async function refreshFate(item) {
  try {
    const answer = await api("/image", { query: { id: item.id } });
    item.near_duplicate = Boolean(answer.resolution) && !answer.resolution.startsWith("kept:");
    redress(item.id);
  } catch {
    // Shown by the next load.
  }
}

onState(apply);

// --- Zoom

const zoom = document.getElementById("zoom");

async function open(index) {
  const item = images[index];
  if (!item) return;
  const picture = zoom.querySelector("img");
  const facts = zoom.querySelector(".facts");
  picture.src = item.image;
  picture.alt = `Candidate ${index + 1}, ${words(item)}`;
  facts.textContent = "…";
  if (!zoom.open) zoom.showModal();
  choose(index);
  try {
    const all = await api("/image", { query: { id: item.id } });
    if (images[active]?.id !== item.id) return;
    if (all.stored) picture.src = all.full;
    const rows = [["id", all.id], ["class", all.wnid], ...all.frequencies.map((one) => [`selected for ${one.wnid}`, `${one.num_selected} of ${one.num_assignments}`]), ["near-duplicates", all.resolution], ["paired with", all.paired_with.join(", ")], ["revisions", all.revisions.join(", ")], ["excluded", all.exclusion && `${all.exclusion.reason} ${all.exclusion.detail} (${all.exclusion.user}, ${all.exclusion.time})`], ["problematic", all.problematic], ["image", all.problem ?? (all.stored ? null : "not stored")], ...Object.entries(all.source).map(([name, value]) => [name.replace("_", " "), value])];
    facts.replaceChildren(element("dl", {}, ...rows.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
  } catch (error) {
    facts.textContent = problemOf(error);
  }
}

zoom.addEventListener("click", (event) => {
  const value = event.target.value;
  if (value === "close" || event.target === zoom) zoom.close();
  if (value === "previous") open(Math.max(0, active - 1));
  if (value === "next") open(Math.min(images.length - 1, active + 1));
});
zoom.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.key in steps) open(Math.max(0, Math.min(images.length - 1, active + steps[event.key])));
  else if (event.key === "e" && mayDecide) exclude();
  else if (event.key === "p" && mayDecide) problematic();
  else return;
  event.preventDefault();
});
zoom.addEventListener("close", () => grid.focus());

// --- Original images

async function originals() {
  const number = Number(form.elements.originals.value);
  const place = document.getElementById("originals");
  if (!number) return place.replaceChildren(element("p", { class: "hint" }, "none shown"));
  const answer = await api("/originals", { query: { wnid, limit: number } });
  const figures = answer.originals.map((item) =>
    element("figure", {}, element("img", { src: item.image, alt: `Original image ${item.id}`, loading: "lazy", decoding: "async", title: item.id }), element("figcaption", {}, item.frequency === null ? "no answers" : `${item.frequency.toFixed(2)} (${item.num_selected}/${item.num_assignments})`)));
  return place.replaceChildren(...(figures.length ? figures : [element("p", { class: "hint" }, "The study knows none of this class.")]));
}

// --- Events

let slow = 0;
form.addEventListener("input", (event) => {
  const name = event.target.name;
  if (name === "size" || name === "originals") {
    history.replaceState(null, "", address());
    if (name === "size") layout();
    else {
      clearTimeout(slow);
      slow = setTimeout(originals, 150);
    }
    return;
  }
  clearTimeout(slow);
  slow = setTimeout(() => {
    if (!form.reportValidity()) return;
    history.pushState(null, "", address());
    reload();
  }, event.target.type === "checkbox" || event.target.tagName === "SELECT" ? 0 : 300);
});
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("reset").addEventListener("click", () => {
  history.pushState(null, "", `${location.pathname}?${new URLSearchParams({ wnid })}`);
  restore();
  reload();
  originals();
});
window.addEventListener("popstate", () => {
  restore();
  reload();
  originals();
});

grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
new ResizeObserver(layout).observe(grid);
canvas.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) choose(Number(tile.dataset.index), { toggle: event.ctrlKey || event.metaKey, range: event.shiftKey });
});
canvas.addEventListener("dblclick", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) open(Number(tile.dataset.index));
});
canvas.addEventListener("pointerover", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) detail(Number(tile.dataset.index));
});

const ACTIONS = { exclude, include: () => mark("exclusion", null, "included again"), problematic, pair: () => pair(true), separate: () => pair(false), undo, redo };
document.querySelector(".actions")?.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) ACTIONS[button.dataset.action]();
});

const bind = (name, what, step) => key(name, what, (event) => void move(step(), event));
bind("ArrowRight", "Next image", () => active + 1);
bind("ArrowLeft", "Previous image", () => active - 1);
bind("ArrowDown", "Image below", () => (active < 0 ? 0 : active + columns));
bind("ArrowUp", "Image above", () => active - columns);
bind("Home", "First image", () => 0);
bind("End", "Last image", () => total - 1);
for (const name of ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"]) {
  const step = { ArrowRight: () => active + 1, ArrowLeft: () => active - 1, ArrowDown: () => active + columns, ArrowUp: () => active - columns }[name];
  bind(`Shift+${name}`, "Extend the selection", step);
}
key(" ", "Add to the selection, or take away", () => choose(Math.max(active, 0), { toggle: true }));
key("Ctrl+a", "Select all images that fit", async () => {
  for (let before = -1; next !== null && before !== images.length; ) {
    before = images.length;
    await more();
  }
  images.forEach((item) => selected.add(item.id));
  images.forEach((item) => redress(item.id));
  activate(active);
});
key("Escape", "Select nothing", clear);
key("Enter", "Zoom", () => void open(Math.max(active, 0)));
key("+", "Larger images", () => resize(20));
key("-", "Smaller images", () => resize(-20));
if (mayDecide) {
  key("e", "Exclude, with the reason in the field", () => void exclude());
  key("i", "Include again", () => void ACTIONS.include());
  key("p", "Problematic, or not", () => void problematic());
  key("d", "The selected images are near-duplicates", () => void pair(true));
  key("Shift+D", "The selected images are no near-duplicates", () => void pair(false));
  key("r", "Go to the reason", () => document.getElementById("reason").focus());
}

function resize(by) {
  form.elements.size.value = size + by;
  history.replaceState(null, "", address());
  layout();
}

reload();
originals();
