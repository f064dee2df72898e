// A chart's cells are one stop of the Tab key; arrow keys move in it. What the table says of a cell is shown below.
for (const figure of document.querySelectorAll("figure:has(.cells)")) {
  const detail = document.createElement("p");
  detail.className = "detail";
  detail.setAttribute("role", "status");
  detail.textContent = "No unit chosen yet.";
  figure.querySelector("details").before(detail);
  const names = [...figure.querySelectorAll("thead th")].map((head) => head.textContent);
  const rows = figure.querySelector("tbody").rows;
  for (const chart of figure.querySelectorAll(".cells")) {
    const cells = [...chart.querySelectorAll("path")];
    const sentence = (cell) => [...rows[cells.indexOf(cell)].cells].map((each) => each.textContent)
      .map((value, column) => (column ? `${names[column]} ${value}` : value)).filter((text, column) =>
        text !== `${names[column]} `).join("; ");
    const show = (cell) => { detail.textContent = sentence(cell); };
    const focus = (cell) => {
      chart.querySelector('[tabindex="0"]').setAttribute("tabindex", "-1");
      cell.setAttribute("tabindex", "0");
      cell.setAttribute("aria-label", sentence(cell));
      cell.focus();
    };
    const middle = (cell) => {
      const box = cell.getBBox();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    // The nearest cell in a direction: along the axis first, then beside it.
    const next = (from, axis, sign) => {
      const start = middle(from);
      let best, least = Infinity;
      for (const cell of cells) {
        const at = middle(cell), along = sign * (at[axis] - start[axis]), beside = Math.abs(at[1 - axis] - start[1 - axis]);
        if (along < 1 || (axis === 0 && beside > 1)) continue;
        const far = along * 1000 + beside;
        if (far < least) { least = far; best = cell; }
      }
      return best;
    };
    const farthest = (from, sign) => {
      let cell = from, beyond;
      while ((beyond = next(cell, 0, sign))) cell = beyond;
      return cell;
    };
    chart.closest("svg").setAttribute("role", "group");
    for (const cell of cells) {
      cell.setAttribute("role", "img");
      cell.setAttribute("tabindex", "-1");
    }
    const first = cells.toSorted((one, two) => middle(one)[1] - middle(two)[1] || middle(one)[0] - middle(two)[0])[0];
    first?.setAttribute("tabindex", "0");
    first?.setAttribute("aria-label", sentence(first));
    // On the figure: a group of SVG that listens to the focus would take it as well.
    for (const type of ["pointerover", "focusin"]) {
      figure.addEventListener(type, (event) => { if (cells.includes(event.target)) show(event.target); });
    }
    figure.addEventListener("click", (event) => { if (cells.includes(event.target)) focus(event.target); });
    figure.addEventListener("keydown", (event) => {
      if (!cells.includes(event.target)) return;
      const target = {
        ArrowLeft: () => next(event.target, 0, -1),
        ArrowRight: () => next(event.target, 0, 1),
        ArrowUp: () => next(event.target, 1, -1),
        ArrowDown: () => next(event.target, 1, 1),
        Home: () => farthest(event.target, -1),
        End: () => farthest(event.target, 1),
      }[event.key]?.();
      if (target) { event.preventDefault(); focus(target); }
    });
  }
}
