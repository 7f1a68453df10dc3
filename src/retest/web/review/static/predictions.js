// Predictions: an image with what all models say; each predicted label is judged, with the keyboard.
import { api, decide, describe, element, key, mayDecideKind, onState, pendingChanges, prefetch, problemOf, toast, untilAnswered, user } from "./review.js";

const KIND = "predicted_label";
const AHEAD = 3;
const VERDICTS = [
  ["correct", "Correct", "c", "the image shows it"],
  ["wrong", "Wrong", "w", "it does not"],
  ["unclear", "Unclear", "u", "the image does not tell, whoever looks"],
  ["dont_know", "Don't know", "d", "somebody else may"],
];
const TITLES = Object.fromEntries(VERDICTS.map(([name, title]) => [name, title]));
const may = mayDecideKind(KIND);

describe(KIND, (state) => (state === null ? "not judged" : TITLES[state] ?? state));

if (document.getElementById("preparing")) setTimeout(() => location.reload(), 2000);

// --- The list

const shortcuts = document.getElementById("shortcuts");
if (shortcuts) {
  const go = (address) => () => address && location.assign(address);
  const click = (id) => () => document.getElementById(id)?.click();
  key("Enter", "Judge one image after the other", click("begin"));
  key("a", "Show all images", go(shortcuts.dataset.all));
  key("w", "Show images that all models get wrong", go(shortcuts.dataset.allWrong));
  key("d", "Show images by most disagreement", go(shortcuts.dataset.disagreement));
  key("o", "Show only what is not judged yet, or all", go(shortcuts.dataset.open));
  key("n", "Next page", click("following"));
  key("p", "First page", click("first"));
}

// --- One image after the other

const place = document.getElementById("prediction");
const { dataset, folder, show, wnid, predicted, judged, skipReviewed, image: wanted } = place?.dataset ?? {};
const filter = { dataset, folder, show, wnid, predicted, judged, skip_reviewed: skipReviewed };
const items = []; // from the first that was looked at, in the order of the filter
let at = 0;
let current = 0;
let ended = { after: false, before: false };
let loading = null;
const refused = { after: "", before: "" };
let total = null;
let openDetails = { more: false, models: false };
let timer = 0;

async function load(direction) {
  while (loading) await loading;
  if (ended[direction]) return;
  loading = (async () => {
    const edge = direction === "after" ? items.at(-1) : items[0];
    try {
      const page = await untilAnswered(() => api("/predictions/queue", { query: { ...filter, [direction]: edge?.image.id, limit: 4 } }), "The images are");
      const known = new Set(items.map((one) => one.image.id));
      const fresh = page.items.filter((one) => !known.has(one.image.id)).map(prepared);
      if (direction === "after") {
        items.push(...fresh);
      } else {
        items.unshift(...fresh.reverse());
        at += fresh.length;
      }
      ended[direction] = !page.more;
      total = page.total;
      count();
    } catch (error) {
      refused[direction] = problemOf(error);
      ended[direction] = true;
      if (items.length) toast(refused[direction], { kind: "problem" });
    } finally {
      loading = null;
    }
  })();
  await loading;
}

function prepared(one) {
  // What still waits to be sent is shown on top of what the server says.
  for (const change of pendingChanges()) {
    const label = change.kind === KIND && one.labels.find((other) => other.item === change.item);
    if (label) Object.assign(label, { state: change.after, pending: true });
  }
  return one;
}

const main = (one) => one.labels.filter((label) => label.own || label.votes);
const rest = (one) => one.labels.filter((label) => !label.own && !label.votes);
const shown = (one) => (openDetails.more ? [...main(one), ...rest(one)] : main(one));
const waits = (label) => label.item !== null && label.state === null && !label.own && label.votes > 0;

async function go(index) {
  if (index < 0) {
    if (ended.before) return toast("That is the first one");
    const first = items[0];
    await load("before");
    index += Math.max(0, items.indexOf(first));
    if (index < 0) return toast("That is the first one");
  }
  while (index >= items.length && !ended.after) await load("after");
  at = Math.max(0, Math.min(index, items.length));
  const one = items[at];
  if (one) {
    current = Math.max(0, shown(one).findIndex(waits));
    const address = new URL(location.href);
    address.searchParams.set("image", one.image.id);
    history.replaceState(null, "", address);
  }
  draw();
  window.scrollTo({ top: 0 });
  lookAhead();
  return undefined;
}

async function lookAhead() {
  if (items.length - at <= AHEAD) await load("after");
  for (const one of items.slice(at + 1, at + 1 + AHEAD)) prefetch([one.image.url, ...one.labels.flatMap((label) => label.examples)]);
}

// --- Drawing

const score = (value) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(3))));

function count() {
  document.getElementById("position").textContent = total === null ? "" : `${total.toLocaleString("en")} ${total === 1 ? "image" : "images"} in this filter ·`;
}

function draw() {
  place.setAttribute("aria-busy", "false");
  const one = items[at];
  count();
  if (!one) {
    const end = items.length ? "That was the last image of this filter." : "No image fits this filter.";
    place.replaceChildren(element("p", { id: "end", role: "status", class: refused.after ? "problem" : null }, refused.after || end), moves(one));
    return;
  }
  const names = new Map(one.labels.map((label) => [label.of.cid, label]));
  const own = names.get(one.label);
  const caption = element("figcaption", {}, "Label ", element("b", {}, own ? own.of.name : "unknown"), own?.of.wnid ? element("span", { class: "id hint" }, ` ${own.of.wnid}`) : "",
    element("div", { class: "hint" }, agreement(one)), element("div", { class: "id hint" }, one.image.id));
  const photo = element("figure", { class: "photo" },
    element("a", { href: one.image.full_url, target: "_blank", rel: "noopener" }, element("img", { src: one.image.url, alt: `The image; its label is ${own ? own.of.name : "unknown"}` })), caption);
  const right = element("div", {}, element("ol", { class: "labels", id: "labels" }, ...main(one).map((label) => card(one, label))));
  if (!one.labels.some((label) => label.item)) right.prepend(element("p", { class: "problem" }, "The study does not know this image, so its labels cannot be judged here."));
  right.append(moves(one));
  if (rest(one).length) {
    right.append(details("more", `${rest(one).length} more ${rest(one).length === 1 ? "class" : "classes"} in the best five of some model`,
      element("ol", { class: "labels" }, ...rest(one).map((label) => card(one, label)))));
  }
  right.append(details("models", `What each of the ${one.models.length} models says`, guesses(one, names)));
  place.replaceChildren(element("div", { class: "looking" }, photo, right));
  mark();
}

function agreement(one) {
  const right = one.models.filter((model) => model.right).length;
  if (one.label < 0) return `${one.models.length} models`;
  return right ? `${right} of ${one.models.length} models are right` : `all ${one.models.length} models are wrong`;
}

function details(name, title, content) {
  const made = element("details", { id: name, open: openDetails[name] }, element("summary", {}, title), content);
  made.addEventListener("toggle", () => {
    openDetails = { ...openDetails, [name]: made.open };
    mark();
  });
  return made;
}

function bar(share) {
  const svg = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  return svg("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "back", width: 100, height: 6 }), svg("rect", { class: "done", width: 100 * share, height: 6 }));
}

function card(one, label) {
  const { of } = label;
  const made = element("li", { "data-cid": of.cid, onclick: (event) => event.target.closest("button") || choose(shown(one).indexOf(label)) },
    element("h2", {}, of.name, " ", of.wnid ? element("span", { class: "id hint" }, of.wnid) : "", label.own ? " " : "", label.own ? element("span", { class: "badge" }, "label of the image") : ""));
  if (of.synonyms.length) made.append(element("p", { class: "hint" }, of.synonyms.join(", ")));
  if (of.gloss) made.append(element("p", { class: "hint" }, of.gloss));
  if (of.wnid === null) made.append(element("p", { class: "hint" }, "The study does not know this class."));
  const count = one.models.length;
  made.append(element("div", { class: "agree" }, bar(count ? label.votes / count : 0), element("span", {}, `${label.votes} of ${count} say so; ${label.in_top5} have it in their best five`)));
  if (label.examples.length) {
    made.append(element("div", { class: "examples" }, ...label.examples.map((url, index) => element("img", { src: url, alt: `Original image ${index + 1} of ${of.name}`, loading: "lazy" }))));
  }
  if (label.item !== null) {
    const buttons = VERDICTS.map(([name, title, , meaning]) =>
      element("button", { type: "button", "data-verdict": name, title: meaning, disabled: !may, onclick: () => judge(label, name) }, title));
    made.append(element("div", { class: "verdicts", role: "group", "aria-label": `Judgement of ${of.name}` }, ...buttons, element("span", { class: "who" })));
    verdict(made, label);
  }
  return made;
}

function verdict(made, label) {
  for (const button of made.querySelectorAll("[data-verdict]")) button.setAttribute("aria-pressed", String(label.state === button.dataset.verdict));
  const text = label.state === null ? (waits(label) ? "not judged" : "") : label.pending ? "saving …" : label.user ? `by ${label.user}` : "";
  made.querySelector(".who").textContent = text;
}

function guesses(one, names) {
  const width = Math.max(1, ...one.models.map((model) => model.guesses.length));
  const head = element("tr", {}, element("th", {}, "Model"), ...Array.from({ length: width }, (_, place) => element("th", {}, place ? `${place + 1}` : "First")));
  const rows = one.models.map((model) => element("tr", {}, element("td", {}, model.model), ...model.guesses.map((guess) =>
    element("td", { class: guess.cid === one.label ? "true" : "" }, names.get(guess.cid)?.of.name ?? `class ${guess.cid}`,
      guess.score === null ? "" : element("span", { class: "hint" }, ` ${score(guess.score)}`)))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What each model says" },
    element("table", { class: "guesses" }, element("thead", {}, head), element("tbody", {}, ...rows)));
}

function moves(one) {
  const made = element("div", { class: "moves" });
  if (one || !items.length) made.append(element("button", { type: "button", id: "next", class: "primary", disabled: !one, onclick: () => go(at + 1) }, "Next image"));
  made.append(element("button", { type: "button", id: "previous", disabled: !items.length, onclick: () => go(at - 1) }, "Image before"));
  return made;
}

function mark({ scroll = false } = {}) {
  const one = items[at];
  if (!one) return;
  const cid = String(shown(one)[current]?.of.cid);
  for (const made of place.querySelectorAll("[data-cid]")) {
    const is = made.dataset.cid === cid;
    made.toggleAttribute("data-current", is);
    if (is && scroll) made.scrollIntoView({ block: "nearest" });
  }
}

// --- What one can do

function choose(index) {
  const one = items[at];
  if (!one) return;
  const count = shown(one).length;
  if (!count) return;
  current = (index + count) % count;
  mark({ scroll: true });
}

function judge(label, name) {
  if (!label || label.item === null) return toast("This label cannot be judged: the study does not know the class or the image");
  const one = items[at];
  decide([{ kind: KIND, item: label.item, after: name, before: label.state, version: label.version }], {
    label: `${label.of.name}: ${name === null ? "not judged" : TITLES[name]}`,
  });
  if (!may || name === null) return undefined;
  const list = shown(one);
  const here = list.indexOf(label);
  const following = [...list.keys()].map((step) => (here + 1 + step) % list.length).find((index) => waits(list[index]));
  current = following ?? here;
  mark({ scroll: true });
  return undefined;
}

const chosen = () => items[at] && shown(items[at])[current];

onState(({ kind, item, state, version, pending, user: by }) => {
  if (kind !== KIND) return;
  for (const [index, one] of items.entries()) {
    const label = one.labels.find((other) => other.item === item);
    if (!label) continue;
    const gone = label.state !== null && (state ?? null) === null;
    Object.assign(label, { state: state ?? null, pending: Boolean(pending) });
    if (!pending && version !== null) {
      if (version !== label.version) label.user = by ?? user;
      label.version = version;
      countAgain();
    }
    const made = one === items[at] && place.querySelector(`[data-cid="${label.of.cid}"]`);
    if (made) verdict(made, label);
    if (gone && index !== at && document.hasFocus()) void go(index); // taken back here: show what waits again
  }
});

function countAgain() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const found = await api("/predictions/progress", { query: { dataset, folder } }).catch(() => null);
    if (found) document.getElementById("judging").textContent = `${(found.labels - found.waiting).toLocaleString("en")} of ${found.labels.toLocaleString("en")}`;
  }, 400);
}

async function begin() {
  if (wanted) {
    try {
      items.push(prepared(await api("/predictions/image", { query: { dataset, folder, image: wanted } })));
    } catch (error) {
      toast(problemOf(error), { kind: "problem" });
      ended.before = true;
    }
  } else {
    ended.before = true;
  }
  await go(0);
}

if (place) {
  key("ArrowDown", "Next label", () => choose(current + 1));
  key("ArrowUp", "Label before", () => choose(current - 1));
  for (const [name, title, letter, meaning] of VERDICTS) key(letter, `${title}: ${meaning}`, () => judge(chosen(), name));
  key("Backspace", "Take the judgement of this label away", () => chosen()?.state && judge(chosen(), null));
  key("Enter", "Next image", () => void go(at + 1));
  key("n", "Next image", () => void go(at + 1));
  key("p", "Image before", () => void go(at - 1));
  key("m", "Show or hide what each model says", () => document.querySelector("#models summary")?.click());
  key("t", "Show or hide the other classes of the best five", () => document.querySelector("#more summary")?.click());
  key("l", "Back to the list", () => document.getElementById("back").click());
  begin();
}
