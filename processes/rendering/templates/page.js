"use strict";
{
  const table = document.querySelector(".tasks");
  const body = table.tBodies[0];
  const rows = [...body.rows];

  // Columns are sorted by a click on their heads.
  const sort = (column, sign) => {
    const isNumber = table.tHead.rows[0].cells[column].className === "number";
    const keyed = rows.map((row) => {
      const text = row.cells[column].textContent;
      return [isNumber ? (text ? parseFloat(text.replaceAll(",", "")) : -1) : text, row];
    });
    keyed.sort(([a], [b]) => sign * (isNumber ? a - b : a < b ? -1 : a > b ? 1 : 0));
    body.append(...keyed.map(([, row]) => row));
  };
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isAscending = head.ariaSort === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isAscending ? "descending" : "ascending");
      sort(head.cellIndex, isAscending ? -1 : 1);
    });
  }

  // Rows are found by what stands in them, and counted where a box or a search hides some.
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  find.parentElement.hidden = false;
  find.closest("fieldset").addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, index) => {
      row.hidden = !texts[index].includes(wanted);
      count += !row.hidden && document.getElementById(`show-${row.className}`).checked;
    });
    found.textContent = wanted || count < rows.length ? `${count} of ${rows.length}` : "";
  });
}
