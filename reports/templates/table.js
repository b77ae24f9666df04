"use strict";
// Headings become buttons, so that tables sort by mouse and keyboard alike; without script they are plain tables.
const keyOf = (row, index) => {
  const cell = row.cells[index];
  const text = cell.dataset.sort ?? cell.textContent.trim();
  const value = Number(text);
  if (text === "" || text === "–") return null;
  return Number.isNaN(value) ? text : value;
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [keyOf(row, index), row]);
      rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : compare(a, b) * (down ? -1 : 1)));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
// A table that is wider than its frame says so: a shadow alone is easily overlooked.
const hint = () => {
  for (const frame of document.querySelectorAll(".scroll")) frame.classList.toggle("wide", frame.scrollWidth > frame.clientWidth + 1);
};
addEventListener("resize", hint);
hint();
