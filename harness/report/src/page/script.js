// Sorts and filters what is on the page already. Without it nothing is missing.
"use strict";
(() => {
  const make = (tag, text, marks = {}) => {
    const element = document.createElement(tag);
    element.textContent = text;
    for (const [name, value] of Object.entries(marks)) element.setAttribute(name, value);
    return element;
  };
  // "1.5 ms" and "900 µs" have an order; a word has none but its letters'.
  const scales = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
  const amount = (text) => {
    const [, number, unit] = text.trim().match(/^[+≥]?\s*(-?[\d.]+(?:e-?\d+)?)\s*(\S*)/) ?? [];
    return number === undefined ? NaN : Number(number) * (scales[unit] ?? 1);
  };
  const compare = (a, b) => {
    const [x, y] = [amount(a), amount(b)];
    if (Number.isNaN(x) && Number.isNaN(y)) return a.localeCompare(b);
    return Number.isNaN(x) ? 1 : Number.isNaN(y) ? -1 : x - y;
  };
  const sortable = (heads, rows, parent, text) => {
    heads.forEach((head, place) => {
      const button = make("button", head.textContent, { type: "button", class: "sort" });
      head.replaceChildren(button);
      let falling = false;
      button.addEventListener("click", () => {
        const sorted = rows().sort((a, b) => compare(text(a, place), text(b, place)));
        parent.append(...(falling ? sorted.reverse() : sorted));
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        falling = !falling;
      });
    });
  };

  for (const list of document.querySelectorAll(".verdicts")) {
    const heads = [...list.querySelector(".heads").children];
    list.querySelector(".heads").removeAttribute("aria-hidden");
    const rows = () => [...list.querySelectorAll(":scope > .ruled")];
    const text = (row, place) =>
      ["interval", "change"].includes(heads[place].dataset.key)
        ? row.dataset.worse
        : row.querySelector(".row").children[place].textContent;
    sortable(heads, rows, list, text);
  }
  for (const table of document.querySelectorAll("table.results")) {
    const heads = [...table.tHead.rows[0].cells];
    const rows = () => [...table.tBodies];
    sortable(heads, rows, table, (body, place) => body.rows[0].cells[place]?.textContent ?? "");
  }

  // A link to something folded unfolds it.
  const unfold = () => {
    let element = document.querySelector(":target");
    for (; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  const rows = [...document.querySelectorAll(".ruled, table.results > tbody")];
  if (rows.length > 1) {
    const field = make("input", "", { type: "search", placeholder: "case, metric, value", "aria-label": "Show only rows that contain" });
    const told = make("output", "", { class: "muted" });
    const label = make("label", "Filter ", { class: "filter" });
    label.append(field, " ", told);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = `${row.id} ${(row.querySelector(".row") ?? row).textContent}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      for (const passed of document.querySelectorAll(".passed")) if (words.length) passed.open = true;
      told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    document.querySelector("nav").after(label);
  }
})();
