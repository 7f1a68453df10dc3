// Near-duplicate review: a candidate beside its neighbours; flicker and difference; decided with the keyboard.
import { api, decide, describe, element, key, mayDecide, onState, prefetch, problemOf, toast, untilAnswered } from "./review.js";

const KIND = "near_duplicate_review";
const place = document.getElementById("pairs");
const VIEWS = { side: "Side by side", flicker: "Flicker", difference: "Difference" };
const AHEAD = 3;

describe(KIND, (state) =>
  state ? `${state.references.length} looked at, near-duplicates: ${state.near_duplicates.join(", ") || "none"}` : "not looked at");

const { metric, wnid, candidate } = place?.dataset ?? {};
const threshold = Number(place?.dataset.threshold);
const items = [];
let at = 0;
let chosen = 0;
let view = "side";
let next;
let ended = false;
let loading = null;
let refused = "";
let timer = 0;

// --- The queue

async function loadMore() {
  if (ended) return;
  loading ??= (async () => {
    try {
      const page = await untilAnswered(() => api("/pairs/queue", { query: { metric, threshold, wnid, after: next, limit: 10 } }), "The queue is");
      const known = new Set(items.map((one) => one.item));
      for (const one of page.items) if (!known.has(one.item)) items.push(prepared(one));
      next = page.next;
      ended = next === null;
    } catch (error) {
      refused = problemOf(error);
      ended = true;
    } finally {
      loading = null;
    }
  })();
  await loading;
}

function prepared(one) {
  // What was said of the same two images elsewhere is proposed, and shown as such.
  one.marks = new Set(
    one.neighbors.filter((n) => (n.marked === null ? n.paired || n.known.at(-1)?.near_duplicate : n.marked)).map((n) => n.image.id));
  one.done = one.neighbors.length > 0 && one.neighbors.every((n) => !n.waits);
  return one;
}

async function show(index) {
  while (index >= items.length && !ended) await loadMore();
  at = Math.max(0, Math.min(index, items.length));
  chosen = 0;
  draw();
  if (items.length - at <= AHEAD) loadMore().then(prefetchAhead);
  prefetchAhead();
}

function prefetchAhead() {
  for (const one of items.slice(at + 1, at + 1 + AHEAD)) {
    prefetch([one.candidate.url, ...one.neighbors.map((n) => n.image.url)]);
  }
}

// --- Drawing

function words(image) {
  const what = { candidate: "candidate", unknown: "unknown image" }[image.kind] ?? `original image (${image.kind})`;
  const often = image.frequency === null ? "" : `, selected by ${Math.round(image.frequency * 100)} % of ${image.num_assignments}`;
  return `${what}${image.wnid ? ` of ${image.wnid}` : ""}${often}`;
}

const number = (distance) => (Math.abs(distance) >= 1000 ? Math.round(distance).toLocaleString("en") : distance.toPrecision(4));

function figure(kind, image, title) {
  const caption = element("figcaption", {}, element("b", {}, title), ` ${words(image)} `, element("span", { class: "id" }, image.id));
  return element("figure", { class: kind }, element("img", { src: image.url, alt: title, draggable: "false" }), caption);
}

function draw() {
  place.setAttribute("aria-busy", "false");
  const one = items[at];
  if (!one) {
    const end = items.length
      ? "That was the last one: nothing else waits within this threshold."
      : "Nothing waits within this threshold: every neighbour has been looked at.";
    place.replaceChildren(element("p", { id: "end", class: refused ? "problem" : null }, refused || end));
    if (items.length) place.append(element("button", { type: "button", onclick: () => show(at - 1) }, "Back"));
    return;
  }
  const neighbor = one.neighbors[chosen];
  const stage = element("div", { class: "stage", "data-view": view }, figure("one", one.candidate, "Candidate"));
  if (neighbor) stage.append(figure("two", neighbor.image, `Neighbour ${chosen + 1} of ${one.neighbors.length}`));
  const heading = element("h2", {}, `${one.class_name || one.candidate.wnid || ""} `, element("span", { class: "hint" }, `number ${at + 1} in this sitting`));
  if (one.done) heading.append(" ", element("span", { class: "badge" }, "decided"));
  place.replaceChildren(heading, stage, tools(one, neighbor), strip(one));
}

function tools(one, neighbor) {
  const bar = element("div", { class: "buttons", role: "group", "aria-label": "View and decision" });
  for (const [name, title] of Object.entries(VIEWS)) {
    bar.append(element("button", { type: "button", "aria-pressed": String(view === name), onclick: () => look(name) }, title));
  }
  if (mayDecide) {
    const marked = neighbor && one.marks.has(neighbor.image.id);
    bar.append(
      element("button", { type: "button", id: "mark", "aria-pressed": String(Boolean(marked)), onclick: () => mark(chosen) }, "Near-duplicate"),
      element("button", { type: "button", id: "save", class: "primary", onclick: saveAndGo }, one.marks.size ? `Save ${one.marks.size} and go on` : "None: save and go on"));
    if (one.state !== null) bar.append(element("button", { type: "button", id: "reopen", onclick: reopen }, "Ask again"));
  }
  bar.append(element("button", { type: "button", onclick: () => show(at + 1) }, "Skip"));
  if (at) bar.append(element("button", { type: "button", onclick: () => show(at - 1) }, "Back"));
  return bar;
}

function strip(one) {
  const list = element("ol", { class: "strip" });
  one.neighbors.forEach((neighbor, index) => {
    const marked = one.marks.has(neighbor.image.id);
    const button = element("button", { type: "button", class: "neighbor", "aria-current": index === chosen ? "true" : null, onclick: () => choose(index) },
      element("img", { src: neighbor.image.url, alt: `Neighbour ${index + 1}`, loading: "lazy" }),
      element("span", { class: "distance" }, `${metric} ${number(neighbor.distance)}`));
    const notes = element("div", { class: "notes" });
    if (marked) notes.append(element("span", { class: "badge near" }, "near-duplicate"));
    if (neighbor.marked !== null) notes.append(element("span", { class: "hint" }, neighbor.marked ? "decided: near-duplicate" : "decided: different"));
    for (const known of neighbor.known.slice(0, 3)) {
      notes.append(element("span", { class: "hint" }, `${known.near_duplicate ? "near-duplicate" : "different"} in ${known.metric}, ${known.reviewer || "somebody"}`));
    }
    list.append(element("li", {}, button, notes));
  });
  return list;
}

// --- What one can do

function look(name) {
  view = name;
  draw();
}

function choose(index) {
  const one = items[at];
  if (!one?.neighbors.length) return;
  chosen = (index + one.neighbors.length) % one.neighbors.length;
  draw();
  place.querySelector(".neighbor[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function mark(index) {
  const one = items[at];
  const neighbor = one?.neighbors[index];
  if (!neighbor || !mayDecide) return;
  if (!one.marks.delete(neighbor.image.id)) one.marks.add(neighbor.image.id);
  chosen = index;
  draw();
}

// The server sorts by code points, which is not the order of JavaScript's strings for rare characters.
function byCodePoint(a, b) {
  const [x, y] = [[...a], [...b]];
  for (let i = 0; i < Math.min(x.length, y.length); i += 1) {
    const difference = x[i].codePointAt(0) - y[i].codePointAt(0);
    if (difference) return difference;
  }
  return x.length - y.length;
}

const sorted = (set) => [...set].sort(byCodePoint);

function saveAndGo() {
  const one = items[at];
  if (!one || !mayDecide) return;
  const shown = one.neighbors.map((n) => n.image.id);
  const before = one.state ?? { references: [], near_duplicates: [] };
  const after = {
    references: sorted(new Set([...before.references, ...shown])),
    near_duplicates: sorted(new Set([...before.near_duplicates.filter((id) => !shown.includes(id)), ...one.marks])),
  };
  decide([{ kind: KIND, item: one.item, after, before: one.state, version: one.version }], {
    label: one.marks.size ? `${one.marks.size} near-duplicates` : "no near-duplicate",
  });
  show(at + 1);
}

function reopen() {
  const one = items[at];
  if (!one || one.state === null) return;
  decide([{ kind: KIND, item: one.item, after: null, before: one.state, version: one.version }], { label: "asked again" });
}

function countAgain() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const left = await api("/pairs/progress", { query: { metric, threshold } }).catch(() => null);
    if (left) document.getElementById("left").textContent = left.left.toLocaleString("en");
  }, 400);
}

onState(({ kind, item, state, version, pending }) => {
  const index = kind === KIND ? items.findIndex((one) => one.item === item) : -1;
  if (index < 0) return;
  const one = items[index];
  one.state = state ?? null;
  const seen = new Set(one.state?.references);
  const near = new Set(one.state?.near_duplicates);
  for (const neighbor of one.neighbors) neighbor.marked = seen.has(neighbor.image.id) ? near.has(neighbor.image.id) : null;
  const reopened = one.done && !one.neighbors.every((n) => seen.has(n.image.id));
  one.done = one.neighbors.every((n) => seen.has(n.image.id));
  if (one.done) one.marks = new Set(one.neighbors.filter((n) => n.marked).map((n) => n.image.id));
  if (!pending && version !== null) {
    one.version = version;
    countAgain();
  }
  if (reopened && !pending) show(index);
  else if (index === at) draw();
});

async function begin() {
  if (candidate) {
    try {
      items.push(prepared(await api("/pairs/candidate", { query: { candidate, metric, threshold } })));
    } catch (error) {
      toast(problemOf(error), { kind: "problem" });
    }
  }
  await show(0);
}

if (place) {
  key("ArrowRight", "Next neighbour", () => choose(chosen + 1));
  key("ArrowLeft", "Neighbour before", () => choose(chosen - 1));
  key("x", "Mark the neighbour as a near-duplicate, or not", () => mark(chosen));
  for (let digit = 1; digit <= 9; digit += 1) key(String(digit), `Mark neighbour ${digit}`, () => mark(digit - 1));
  key("Enter", "Save: all that is shown has been looked at; go on", saveAndGo);
  key("n", "Skip without deciding", () => void show(at + 1));
  key("p", "Back", () => void show(at - 1));
  key("s", "Side by side", () => look("side"));
  key("f", "Flicker", () => look("flicker"));
  key("d", "Difference", () => look("difference"));
  setInterval(() => place.querySelector(".stage[data-view=flicker]")?.classList.toggle("other"), 500);
  begin();
}
