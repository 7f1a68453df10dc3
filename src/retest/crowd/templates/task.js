(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const form = byId("task"), note = byId("note"), saved = byId("saved"), submit = byId("submit");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const query = new URLSearchParams(location.search);
  const assignment = query.get("assignmentId") || "";
  const preview = !assignment || assignment === "ASSIGNMENT_ID_NOT_AVAILABLE";

  // Answers go to one of the addresses that the page was made for, or to the server that shows it; to no other.
  const given = form.dataset.submitBases.split(" ");
  const origin = (url) => { try { return new URL(url, location.href).origin; } catch { return ""; } };
  const asked = (query.get("turkSubmitTo") || given[0]).replace(/\/+$/, "");
  const known = [location.origin, ...given.map(origin)].filter((item) => item && item !== "null");
  const base = known.includes(origin(asked)) ? asked : given[0];
  const own = location.origin !== "null" && origin(base) === location.origin;
  form.action = base + "/mturk/externalSubmit";
  form.elements.assignmentId.value = assignment;

  const say = (text) => { note.textContent = text; note.hidden = !text; };
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const fields = () => new URLSearchParams(new FormData(form));
  const key = "retest-" + assignment + "-" + form.dataset.page;
  const local = {
    get() { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } },
    set(value) { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* private mode: the server keeps it */ } },
    drop() { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } },
  };
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.name);
  const count = () => { byId("count").textContent = chosen().length + " of " + boxes.length + " selected"; };

  // Saving: at once in this browser, and on the labelling server where that shows the page.
  let version = 0, stored = 0, busy = false, done = false, restored = false, sending = null;
  const touched = new Set();
  const save = async () => {
    if (!own || preview || busy || !restored) return;
    busy = true;
    for (let wait = 500; stored < version && !done; wait = Math.min(wait * 2, 10000)) {
      const sent = version;
      try {
        sending = fetch(base + "/mturk/saveAnswer", { method: "POST", body: fields() });
        const reply = await sending;
        if (reply.ok) { stored = sent; saved.textContent = "Saved"; wait = 250; continue; }
        if (reply.status < 500) { if (!done) say(await reply.text()); break; }
      } catch { /* offline: try again */ }
      saved.textContent = "No connection. Your answers are kept and will be saved.";
      await pause(wait);
    }
    busy = false;
  };
  const changed = () => { count(); version += 1; if (restored) local.set(chosen()); save(); };
  form.addEventListener("change", (event) => { touched.add(event.target.name); changed(); });

  // What was saved comes back, but never over a click made meanwhile; nothing is saved before that.
  const remembered = async () => {
    const names = local.get();
    if (Array.isArray(names) || !own || preview) return names;
    for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
      try {
        const reply = await fetch(base + "/mturk/saveAnswer?assignmentId=" + encodeURIComponent(assignment));
        if (reply.status === 200) return Object.keys(await reply.json());
        if (reply.status < 500) return null;
      } catch { /* offline: try again */ }
      await pause(wait);
    }
  };
  const restore = async () => {
    const names = await remembered();
    if (Array.isArray(names)) boxes.forEach((box) => { if (!touched.has(box.name)) box.checked = names.includes(box.name); });
    restored = true;
    count();
    if (touched.size) changed();
  };

  // Submitting, once: on the own server until it has arrived, on Mechanical Turk as an ordinary form.
  form.addEventListener("submit", async (event) => {
    if (preview || done) { event.preventDefault(); return; }
    done = true;
    submit.disabled = true;
    if (!own) { local.drop(); return; }
    event.preventDefault();
    await restoring;
    try { await sending; } catch { /* it is handed in now */ }  // a draft that comes after the answer would be refused
    for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
      try {
        const reply = await fetch(form.action, { method: "POST", body: fields(), headers: { Accept: "text/html" } });
        if (reply.ok) { local.drop(); location.assign(reply.redirected ? reply.url : base + "/mturk/done"); return; }
        if (reply.status < 500) { done = false; submit.disabled = false; say(await reply.text()); return; }
      } catch { /* offline: try again */ }
      saved.textContent = "No connection. Your answer is kept and will be handed in.";
      await pause(wait);
    }
  });
  byId("return").addEventListener("click", async () => {
    try {
      const reply = await fetch(base + "/mturk/returnAssignment", { method: "POST", body: fields() });
      if (!reply.ok) { say(await reply.text()); return; }
      done = true;
      local.drop();
      location.assign(reply.redirected ? reply.url : base + "/mturk/done");
    } catch { say("No connection. Please try again."); }
  });

  // Looking: enlarge, move with the keyboard.
  const zoom = byId("zoom");
  const enlarge = (tile) => { zoom.firstElementChild.src = tile.querySelector("img").src; zoom.showModal(); };
  zoom.addEventListener("click", () => zoom.close());
  const tiles = [...document.querySelectorAll(".tile")];
  tiles.forEach((tile, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = -1;
    button.textContent = "⤢";
    button.setAttribute("aria-label", "Enlarge image " + (index + 1));
    button.addEventListener("click", () => enlarge(tile));
    tile.append(button);
  });

  // An image that does not load is asked for again, ever more slowly; the page says so while it stays away, and so does the answer.
  const missing = new Set(), givenUp = new Set();
  const report = () => {
    form.elements.missing.value = [...missing].sort((a, b) => a - b).join(",");
    const one = givenUp.size === 1;
    byId("lost").textContent = (one ? "1 image" : givenUp.size + " images") + " could not be loaded. Please go on without "
      + (one ? "it" : "them") + ": your answer says that you did not see " + (one ? "it." : "them.");
    byId("lost").hidden = !givenUp.size;
  };
  tiles.forEach((tile, index) => {
    const image = tile.querySelector("img");
    let tries = 0, timer = 0;
    const again = () => { tries += 1; image.src = image.src; };
    const lost = () => {
      missing.add(index);
      const more = tries < 7;
      tile.classList.toggle("waiting", more);
      tile.classList.toggle("missing", !more);
      clearTimeout(timer);
      if (more) timer = setTimeout(again, 500 * 2 ** tries * (1 + Math.random())); else givenUp.add(index);
      report();
    };
    image.addEventListener("error", lost);
    image.addEventListener("load", () => { missing.delete(index); givenUp.delete(index); tile.classList.remove("waiting", "missing"); report(); });
    window.addEventListener("online", () => { if (givenUp.delete(index)) { tries = 0; again(); report(); } });
    if (image.complete && !image.naturalWidth) lost();
  });

  const columns = () => Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || zoom.open) return;
    if (event.key === "?") { byId("help").open = true; byId("help").firstElementChild.focus(); return; }
    const at = boxes.indexOf(document.activeElement);
    if (at < 0) return;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
    if (step) (boxes[at + step] || boxes[at]).focus();
    else if (event.key === "z" || event.key === "Z") enlarge(tiles[at]);
    else if (event.key === "Enter") boxes[at].click();
    else return;
    event.preventDefault();
  });

  if (preview) { submit.disabled = true; say("This is a preview. Accept the task to answer it."); }
  byId("return").hidden = !own || preview;
  const restoring = restore();
})();
