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
  const scales = {
    ns: 1, "µs": 1e3, ms: 1e6, s: 1e9,
    B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40,
    FLOP: 1, kFLOP: 1e3, MFLOP: 1e6, GFLOP: 1e9, TFLOP: 1e12,
    elem: 1, kelem: 1e3, Melem: 1e6, Gelem: 1e9, Telem: 1e12,
    k: 1e3, M: 1e6, G: 1e9, T: 1e12, mJ: 1e-3, J: 1, tok: 1, req: 1, nat: 1, "%": 1,
  };
  // A date is a word.
  const amount = (text) => {
    const [, number, unit] = text.trim().match(/^[+≥>]?\s*(-?[\d.]+(?:e-?\d+)?)(?![\d.-])\s*(\S*)/) ?? [];
    return number === undefined ? NaN : Number(number) * (scales[unit.replace(/\/s$/, "")] ?? 1);
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
  // Several bodies are a case each; in an only one each row is, unless rows share a cell.
  const cases = (table) => {
    const isOnly = table.tBodies.length === 1 && !table.querySelector("tbody [rowspan]");
    return [...(isOnly ? table.tBodies[0].rows : table.tBodies)];
  };
  for (const table of document.querySelectorAll("table.results")) {
    const heads = [...table.tHead.rows[0].cells];
    const parent = cases(table)[0]?.parentElement ?? table;
    const text = (row, place) => (row.rows?.[0] ?? row).cells[place]?.textContent ?? "";
    sortable(heads, () => cases(table), parent, text);
  }

  // A link to something folded unfolds it.
  const unfold = () => {
    let element = document.querySelector(":target");
    for (; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  const results = [...document.querySelectorAll("table.results")];
  const rows = [...document.querySelectorAll(".ruled"), ...results.flatMap(cases)];
  if (rows.length > 1) {
    const field = make("input", "", { type: "search", placeholder: "case, metric, value", "aria-label": "Show only rows that contain" });
    const told = make("output", "", { class: "muted" });
    const label = make("label", "Filter ", { class: "filter" });
    label.append(field, " ", told);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = `${row.id || row.parentElement.id} ${(row.querySelector(".row") ?? row).textContent}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      for (const passed of document.querySelectorAll(".passed")) if (words.length) passed.open = true;
      told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    document.querySelector("nav").after(label);
  }
})();
