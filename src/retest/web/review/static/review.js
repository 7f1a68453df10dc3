// What every review page shares: decisions that survive a lost connection, undo, conflicts, keyboard, messages, prefetching.
// Pages import from here; the server's side is src/retest/web/review/api_decisions.py.

const page = document.body.dataset;
export const user = page.user ?? "";
export const mayDecide = page.mayDecide === "yes";
const decides = new Set((page.decides ?? "").split(" "));
/** Whether whoever is signed in may make decisions of a kind. */
export const mayDecideKind = (kind) => decides.has(kind);
const API = "/review/api";
// Two studies may be served at one address after each other: what waits for one is nothing for the other.
const PLACE = `${page.study ?? ""}:${user}`;
const QUEUE = `retest-review-queue:${PLACE}`;
const NUMBERS = `retest-review-numbers:${PLACE}`;
const DONE = `retest-review-done:${PLACE}`;
const UNDONE = `retest-review-undone:${PLACE}`;

// --- The server

export class ApiError extends Error {
  constructor(status, answer, refused = null) {
    super(answer?.problem ?? `The server answered ${status}`);
    this.status = status;
    this.refused = refused;
    this.answer = answer ?? {};
  }
}

/** Ask the JSON interface: api("/candidates", {query: {wnid, bin: [0, 1]}}) or api("/items", {body: {kind, items}}). */
export async function api(path, { query = {}, body = undefined, signal = undefined } = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") parameters.append(name, one);
    }
  }
  const text = parameters.toString();
  const options = { headers: { Accept: "application/json" }, signal };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.headers["X-CSRF-Token"] = page.csrf ?? "";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`${API}${path}${text ? `?${text}` : ""}`, options);
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, answer, response.headers.get("X-Retest-Refused"));
  return answer;
}

const ASK_AGAIN_MS = 3000;

/** Whether asking again may help: the connection is lost, somebody has to sign in, the server is busy or fails. */
const mayPass = (error) => !(error instanceof ApiError) || error.status >= 500 || [401, 429].includes(error.status);

/** What went wrong, in words; the browser's own words for a lost connection say nothing to people. */
export const problemOf = (error) => (error instanceof ApiError ? [error.message, error.answer.remedy].filter(Boolean).join(". ") : "No connection to the server");

/**
 * What ask() gives. What may pass is said once ("The queue is ..."), and it is asked again until it has passed or nobody wants it any more
 * (then null); other errors are thrown.
 */
export async function untilAnswered(ask, what, wanted = () => true) {
  for (let told = false; wanted(); told = true) {
    try {
      return await ask();
    } catch (error) {
      if (!mayPass(error)) throw error;
      if (!told && wanted()) toast(`${problemOf(error)}. ${what} asked for again.`, { kind: "problem" });
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    }
  }
  return null;
}

// --- Stored lists; several tabs share the queue, so it is read anew each time

function load(storage, name) {
  try {
    return JSON.parse(storage.getItem(name)) ?? [];
  } catch {
    return [];
  }
}

const save = (storage, name, value) => storage.setItem(name, JSON.stringify(value));
const same = (a, b) => a.kind === b.kind && a.item === b.item;

// --- States: pages listen to "review:state" on document

const channel = "BroadcastChannel" in window ? new BroadcastChannel(`retest-review:${page.study ?? ""}`) : null;
channel?.addEventListener("message", (event) => document.dispatchEvent(new CustomEvent("review:state", { detail: event.data })));

function tell(detail) {
  document.dispatchEvent(new CustomEvent("review:state", { detail }));
  channel?.postMessage(detail);
}

/** Call listener({kind, item, state, version, pending}) whenever the state of an item changes; version is null until confirmed. */
export function onState(listener) {
  document.addEventListener("review:state", (event) => listener(event.detail));
}

// --- Decisions

/**
 * Decide: shown at once, sent in order, kept until the server has confirmed it.
 * changes: [{kind, item, after, before, version}], label: what it says when it is undone.
 */
export function decide(changes, { label = "" } = {}) {
  if (!changes.every((change) => mayDecideKind(change.kind))) return toast("You may look, but not decide", { kind: "problem" });
  if (!changes.length) return undefined;
  const entry = { id: newId(), type: "decide", label, changes };
  save(sessionStorage, UNDONE, []);
  remember(DONE, { id: entry.id, label });
  for (const change of changes) tell({ ...change, state: change.after, version: null, pending: true });
  enqueue(entry);
  return entry.id;
}

/** Take back the latest decision of this tab. */
export function undo() {
  return step(DONE, UNDONE, "Nothing to undo", "Undone");
}

/** Decide again what was undone last. */
export function redo() {
  return step(UNDONE, DONE, "Nothing to redo", "Done again");
}

function step(from, to, nothing, done) {
  const stack = load(sessionStorage, from);
  const last = stack.pop();
  if (!last) return toast(nothing);
  save(sessionStorage, from, stack);
  const id = newId();
  remember(to, { id, label: last.label });
  toast(`${done}${last.label ? `: ${last.label}` : ""}`);
  enqueue({ id, type: "take-back", label: last.label, of: last.id });
  return id;
}

/** Take back decisions by their numbers, as the audit log does. */
export function takeBack(numbers, { label = "" } = {}) {
  const id = newId();
  remember(DONE, { id, label });
  enqueue({ id, type: "take-back", label, numbers });
}

function remember(name, entry) {
  save(sessionStorage, name, [...load(sessionStorage, name), entry].slice(-200));
}

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function enqueue(entry) {
  save(localStorage, QUEUE, [...load(localStorage, QUEUE), entry]);
  showConnection();
  pump();
}

/** How many decisions wait for the server. */
export const waiting = () => load(localStorage, QUEUE).length;

/** Wishes that wait for the server, to be shown on top of what it says. */
export function pendingChanges() {
  return load(localStorage, QUEUE).flatMap((entry) => entry.changes ?? []);
}

let offline = false;
let stopped = "";
let delay = 500;
let timer = 0;
let pumping = false;

async function pump() {
  if (pumping) return;
  pumping = true;
  clearTimeout(timer);
  try {
    const work = async () => {
      while (load(localStorage, QUEUE).length) {
        if (!(await sendFirst())) break;
      }
    };
    // One tab at a time: decisions are sent in order, and none twice.
    await (navigator.locks ? navigator.locks.request(QUEUE, work) : work());
  } finally {
    pumping = false;
    showConnection();
  }
}

async function sendFirst() {
  const entry = load(localStorage, QUEUE)[0];
  try {
    const answer = await send(entry);
    offline = false;
    stopped = "";
    delay = 500;
    if (answer) confirmed(entry, answer.decided);
    else {
      drop(entry);
      forget(entry.id);
      toast("It was never stored: there is nothing to take back", { kind: "problem" });
    }
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 409 && error.answer.conflicts) {
      await settle(entry, error.answer.conflicts, error.answer.rest ?? []);
      return true;
    }
    if (error instanceof ApiError && error.status === 401) {
      stopped = "Signed out: your decisions are kept. Sign in again in another tab.";
      return retry();
    }
    if (error instanceof ApiError && error.refused === "csrf") {
      // Signed in again in another tab: that one sends what waits, and so does this one once it is loaded again.
      stopped = "You signed in again: your decisions are kept. Load this page again.";
      return retry();
    }
    if (error instanceof ApiError && error.status < 500 && error.status !== 429) {
      drop(entry);
      forget(entry.id);
      for (const change of entry.changes ?? []) tell({ ...change, state: change.before ?? null, version: change.version, pending: false });
      toast(problemOf(error), { kind: "problem" });
      return true;
    }
    offline = true;
    return retry();
  }
}

function retry() {
  timer = setTimeout(pump, delay);
  delay = Math.min(delay * 2, 15000);
  return false;
}

async function send(entry) {
  if (entry.type === "decide") return api("/decisions", { body: { changes: entry.changes } });
  const numbers = entry.numbers ?? load(localStorage, NUMBERS).find(([id]) => id === entry.of)?.[1] ?? [];
  return numbers.length ? api("/take-back", { body: { numbers } }) : null;
}

function drop(entry) {
  save(localStorage, QUEUE, load(localStorage, QUEUE).filter((other) => other.id !== entry.id));
}

/** What the server refused can neither be undone nor be done again. */
function forget(id) {
  for (const name of [DONE, UNDONE]) save(sessionStorage, name, load(sessionStorage, name).filter((one) => one.id !== id));
}

function confirmed(entry, decided) {
  const numbers = decided.filter((one) => one.no !== null).map((one) => one.no);
  save(localStorage, NUMBERS, [...load(localStorage, NUMBERS), [entry.id, numbers]].slice(-500));
  const rest = load(localStorage, QUEUE).filter((other) => other.id !== entry.id);
  const later = new Set();
  for (const other of rest) {
    for (const change of other.changes ?? []) {
      const one = decided.find((candidate) => same(candidate, change) && !later.has(candidate));
      if (one) {
        // A later wish about the same item now builds on this decision.
        change.version = one.version;
        change.before = one.state;
        later.add(one);
      }
    }
  }
  save(localStorage, QUEUE, rest);
  for (const one of decided) {
    if (!later.has(one)) tell({ ...one, pending: false });
  }
}

const describers = {};

/** How states of a kind are put into words: describe("exclusion", (state) => ...). */
export function describe(kind, words) {
  describers[kind] = words;
}

function inWords(kind, state) {
  if (describers[kind]) return describers[kind](state);
  if (state === null) return "nothing";
  if (state === true) return "yes";
  return typeof state === "object" ? Object.values(state).filter(Boolean).join(": ") || "yes" : String(state);
}

async function settle(entry, conflicts, rest) {
  const choice = await askConflict(conflicts);
  const queue = load(localStorage, QUEUE);
  const own = queue.find((other) => other.id === entry.id);
  if (!own) return;
  if (own.type === "take-back") {
    // What is wished after all is a decision of its own; what nobody else touched is taken back as it was to be.
    if (rest.length) queue.splice(queue.indexOf(own), 0, { id: entry.id, type: "take-back", label: own.label, numbers: rest });
    if (rest.length) own.id = newId();
    own.type = "decide";
    own.changes = conflicts.map((one) => ({ kind: one.kind, item: one.item, after: one.wished, before: one.state, version: one.version }));
  }
  const mine = [];
  for (const change of own.changes) {
    const conflict = conflicts.find((one) => same(one, change));
    if (conflict && choice === "theirs") {
      tell({ ...conflict, pending: false });
      continue;
    }
    mine.push(conflict ? { ...change, before: conflict.state, version: conflict.version } : change);
  }
  own.changes = mine;
  if (!mine.length && own.id === entry.id) forget(entry.id);
  save(localStorage, QUEUE, mine.length ? queue : queue.filter((other) => other !== own));
}

function askConflict(conflicts) {
  const dialog = document.getElementById("conflict");
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...["Item", "Yours", "Theirs", "By"].map((text) => element("th", {}, text)))));
  const rows = conflicts.slice(0, 20).map((one) =>
    element("tr", {}, element("td", { class: "id" }, one.item), element("td", {}, inWords(one.kind, one.wished)), element("td", {}, inWords(one.kind, one.state)), element("td", {}, one.user ? `${one.user}, ${one.time}` : "a stage")));
  table.append(element("tbody", {}, ...rows));
  const more = conflicts.length > 20 ? element("p", {}, `and ${conflicts.length - 20} more`) : "";
  dialog.querySelector("#conflict-body").replaceChildren(table, more);
  return new Promise((resolve) => {
    const finish = (value) => {
      dialog.removeEventListener("click", clicked);
      dialog.removeEventListener("cancel", cancelled);
      dialog.close();
      resolve(value);
    };
    const clicked = (event) => event.target.value && finish(event.target.value);
    const cancelled = (event) => {
      event.preventDefault();
      finish("theirs");
    };
    dialog.addEventListener("click", clicked);
    dialog.addEventListener("cancel", cancelled);
    dialog.showModal();
  });
}

function showConnection() {
  const place = document.getElementById("connection");
  if (!place) return;
  const number = waiting();
  const words = `${number} ${number === 1 ? "decision" : "decisions"}`;
  const text = !number ? "" : stopped || (offline ? `No connection: ${words} kept, sent when it is back` : `Saving ${words} …`);
  if (place.textContent !== text) place.textContent = text;
  document.body.dataset.saved = number ? "no" : "yes";
}

window.addEventListener("online", pump);
window.addEventListener("focus", () => waiting() && pump());
window.addEventListener("storage", (event) => event.key === QUEUE && showConnection());

// --- Small helpers for pages

/** element("a", {href, class, onclick}, ...children): attributes as text, functions as listeners, texts escaped by the browser. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** A short message at the edge of the page. */
export function toast(text, { kind = "", seconds = kind === "problem" ? 12 : 4 } = {}) {
  const place = document.getElementById("toasts");
  const note = element("p", { class: `toast ${kind}`.trim() }, text);
  place?.append(note);
  setTimeout(() => note.remove(), seconds * 1000);
  while (place && place.children.length > 4) place.firstChild.remove();
}

const fetched = new Set();
let under = 0;
const waitingImages = [];

/** Load images before they are looked at, at most six at a time. */
export function prefetch(urls) {
  for (const url of urls) {
    if (url && !fetched.has(url)) {
      fetched.add(url);
      waitingImages.push(url);
    }
  }
  while (under < 6 && waitingImages.length) {
    const image = new Image();
    under += 1;
    image.onload = image.onerror = () => {
      under -= 1;
      prefetch([]);
    };
    image.src = waitingImages.shift();
  }
}

/** An image whose address fails (a store behind a firewall, a wrong clock) is asked of this server, which also says what is missing. */
function askHere(image) {
  if (image?.src?.includes("/review/images/") && !image.src.includes("proxied=1")) image.src += "&proxied=1";
}

document.addEventListener("error", (event) => event.target instanceof HTMLImageElement && askHere(event.target), true);
for (const image of document.images) if (image.complete && image.src && !image.naturalWidth) askHere(image);

// --- Keyboard

const bindings = new Map();

/** Bind a key, such as "e", "Shift+E", "Ctrl+z" or "ArrowRight"; what is said appears on the "?" sheet. */
export function key(name, what, run) {
  bindings.set(name, { what, run });
}

function nameOf(event) {
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key)) ? "Shift+" : "";
  return control + shift + event.key;
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox],[type=range],[type=radio]), textarea, select, [contenteditable]");
  if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]") || (typing && event.key !== "Escape")) return;
  const binding = bindings.get(nameOf(event));
  // Enter and Space belong to the button or link that has the focus.
  if (!binding || (["Enter", " "].includes(event.key) && event.target.closest("button, a, summary, input"))) return;
  if (binding.run(event) !== false) event.preventDefault();
});

const KEYS = { " ": "Space", ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓" };

function showKeys() {
  const dialog = document.getElementById("keys");
  dialog.querySelector("dl").replaceChildren(
    ...[...bindings].flatMap(([name, { what }]) => [element("dt", {}, ...name.split(/(?<=[^+])\+(?=.)/).map((part) => element("kbd", {}, KEYS[part] ?? part))), element("dd", {}, what)]));
  dialog.showModal();
}

// On narrow screens the navigation is one line: show where one is.
const here = document.querySelector(".top nav [aria-current]");
if (here) {
  const line = here.parentElement;
  line.scrollLeft = here.offsetLeft - line.offsetLeft - (line.clientWidth - here.offsetWidth) / 2;
}

// Folded away on narrow screens: the line that is left says how much is set. On wide ones all is open, for readers of the page too.
const folds = [...document.querySelectorAll("details.fold")];
function isSet(field) {
  if (field.type === "checkbox") return field.checked;
  return field.tagName === "SELECT" ? field.selectedIndex > 0 : field.value !== (field.dataset.usual ?? "");
}

const OWN = "select, input:not([type=hidden], [type=range])";

function sayWhatIsSet() {
  for (const fold of folds) {
    const set = [...fold.querySelectorAll(OWN)].filter(isSet).length;
    fold.firstElementChild.textContent = set ? `Filters (${set} set)` : "Filters";
  }
}

if (folds.length) {
  for (const fold of folds) fold.open = matchMedia("(min-width: 701px)").matches;
  sayWhatIsSet();
  for (const name of ["input", "click"]) document.addEventListener(name, () => setTimeout(sayWhatIsSet));
  window.addEventListener("popstate", () => setTimeout(sayWhatIsSet));
}
if (document.getElementById("keys")) {
  key("?", "Show this sheet", showKeys);
  key("Ctrl+z", "Undo your latest decision", () => void undo());
  key("Ctrl+Shift+Z", "Redo", () => void redo());
  key("Ctrl+y", "Redo", () => void redo());
  document.getElementById("show-keys").addEventListener("click", showKeys);
  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = page.csrf ?? "";
  });
  showConnection();
  pump();
}
