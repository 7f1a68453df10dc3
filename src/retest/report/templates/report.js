(() => {
  "use strict";

  /* Sorting. The buttons exist only with the script, so that nothing on the page is dead without it. */
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const keyOf = (row, index, kind) => {
    const cell = row.cells[index];
    if (kind !== "number") return cell.textContent.trim();
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  };

  const compare = (a, b, kind, sign) => {
    if (kind !== "number") return sign * collator.compare(a, b);
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (a - b);
  };

  const sortBy = (table, header, index) => {
    const kind = header.dataset.sort;
    const first = kind === "number" && header.textContent.trim() !== "rank" ? "descending" : "ascending";
    const now = header.getAttribute("aria-sort");
    const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
    const sign = next === "ascending" ? 1 : -1;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", next);
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row, index, kind), row]);
    rows.sort((a, b) => compare(a[0], b[0], kind, sign));
    body.append(...rows.map((pair) => pair[1]));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headers.forEach((header, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sortBy(table, header, index));
    });
  }

  /* A filter where there are many models. */
  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = [...table.tBodies[0].rows].filter((row) => row.dataset.model !== undefined);
    if (rows.length < 16) continue;
    const label = document.createElement("label");
    label.className = "filter";
    const input = document.createElement("input");
    input.type = "search";
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.dataset.model.toLowerCase().includes(wanted);
    });
    label.append("Show models with", input, "in their name");
    table.closest(".table").prepend(label);
  }

  /* Pointing at a mark, or focusing it: a note says what it is, and the same model lights up everywhere. */
  const tip = document.getElementById("tip");
  const byModel = new Map();
  for (const node of document.querySelectorAll("[data-model]")) {
    const name = node.dataset.model;
    if (!byModel.has(name)) byModel.set(name, []);
    byModel.get(name).push(node);
  }
  let current = null;
  let lit = [];

  /* A ring about the point, drawn last so that no other point covers it. */
  const ring = (mark) => {
    const dots = mark.querySelectorAll(".dot");
    if (dots.length !== 1) return;
    const box = dots[0].getBBox();
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    circle.setAttribute("class", "ring");
    circle.setAttribute("cx", box.x + box.width / 2);
    circle.setAttribute("cy", box.y + box.height / 2);
    circle.setAttribute("r", 8);
    mark.closest("svg").append(circle);
  };

  const light = (node) => {
    for (const old of document.querySelectorAll(".ring")) old.remove();
    for (const other of lit) other.classList.remove("on");
    for (const chart of document.querySelectorAll(".chart.dimmed")) chart.classList.remove("dimmed");
    const name = node && node.dataset.model;
    lit = !node ? [] : name === undefined ? [node] : byModel.get(name);
    for (const other of lit) {
      other.classList.add("on");
      const chart = other.closest(".chart");
      if (chart && name !== undefined) {
        chart.classList.add("dimmed");
        ring(other);
      }
    }
  };

  const place = (mark) => {
    const target = (mark.querySelector(".dot, .bar") || mark).getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const left = target.left + target.width / 2 - own.width / 2;
    const above = target.top - own.height - 10;
    tip.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - own.width - 8))}px`;
    tip.style.top = `${above < 8 ? target.bottom + 10 : above}px`;
  };

  const show = (mark) => {
    if (mark === current) return;
    current = mark;
    const [name, ...rest] = mark.dataset.tip.split("\n");
    const title = document.createElement("strong");
    title.textContent = name;
    const lines = rest.map((text) => {
      const line = document.createElement("span");
      line.textContent = text;
      return line;
    });
    tip.replaceChildren(title, ...lines);
    tip.hidden = false;
    place(mark);
    light(mark);
  };

  const hide = () => {
    current = null;
    tip.hidden = true;
    light(null);
  };

  /* Points are small: the nearest one within reach counts, measured from its marker. */
  const reach = 28;
  const nearest = (chart, x, y) => {
    let best = null;
    let least = reach;
    for (const mark of chart.querySelectorAll(".mark")) {
      const dot = mark.querySelector(".dot");
      if (!dot) continue;
      const box = dot.getBoundingClientRect();
      const distance = Math.hypot(box.left + box.width / 2 - x, box.top + box.height / 2 - y);
      if (distance < least) [least, best] = [distance, mark];
    }
    return best;
  };

  for (const chart of document.querySelectorAll("svg.chart")) {
    const marks = [...chart.querySelectorAll(".mark")];
    if (!marks.length) continue;
    for (const mark of marks) {
      const title = mark.querySelector("title");
      if (title) title.remove(); // the browser's own note would cover ours
    }
    const points = !chart.querySelector(".hit");
    const follow = (event) => {
      const mark = points ? nearest(chart, event.clientX, event.clientY) : event.target.closest(".mark");
      if (mark) show(mark);
      else hide();
    };
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerdown", follow);
    chart.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide();
    });
    const move = (to) => {
      for (const mark of marks) mark.setAttribute("tabindex", mark === to ? "0" : "-1");
      to.focus();
    };
    chart.addEventListener("keydown", (event) => {
      const at = marks.indexOf(event.target.closest(".mark"));
      if (at < 0) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const to = step ? at + step : event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1 : -1;
      if (marks[to]) {
        event.preventDefault();
        move(marks[to]);
      }
    });
    chart.addEventListener("focusin", (event) => {
      const mark = event.target.closest(".mark");
      if (mark) show(mark);
    });
    chart.addEventListener("focusout", hide);
  }
  for (const row of document.querySelectorAll("tr[data-model]")) {
    row.addEventListener("pointerenter", () => light(row));
    row.addEventListener("pointerleave", () => light(null));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(".chart")) hide();
  });
  document.addEventListener("scroll", () => current && place(current), { capture: true, passive: true });

  /* PNG from the figure's own SVG file, at three times its size. */
  const savePng = (link, slug) => {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth * 3;
      canvas.height = image.naturalHeight * 3;
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      const saved = document.createElement("a");
      saved.href = canvas.toDataURL("image/png");
      saved.download = `${slug}.png`;
      saved.click();
    };
    image.src = link.href;
  };
  for (const tools of document.querySelectorAll("[data-svg]")) {
    const link = tools.querySelector("a");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "PNG";
    button.addEventListener("click", () => savePng(link, tools.dataset.svg));
    link.after(button);
  }
})();
