// A grid is one stop of the Tab key; arrow keys move in it. What a cell says is shown below it.
for (const grid of document.querySelectorAll('[role="grid"]')) {
  const detail = document.getElementById("detail");
  const rows = [...grid.querySelectorAll('[role="row"]')].map((row) => [...row.querySelectorAll('[role="gridcell"]')]);
  const show = (cell) => { detail.textContent = cell.getAttribute("aria-label"); };
  const focus = (cell) => {
    grid.querySelector('[tabindex="0"]').setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
    cell.focus();
  };
  const nearest = (row, column) =>
    row.reduce((best, cell) => Math.abs(cell.dataset.column - column) < Math.abs(best.dataset.column - column) ? cell : best);
  for (const type of ["pointerover", "focusin"]) {
    grid.addEventListener(type, (event) => { if (event.target.matches('[role="gridcell"]')) show(event.target); });
  }
  grid.addEventListener("click", (event) => { if (event.target.matches('[role="gridcell"]')) focus(event.target); });
  grid.addEventListener("keydown", (event) => {
    const y = rows.findIndex((row) => row.includes(event.target));
    if (y < 0) return;
    const x = rows[y].indexOf(event.target);
    const column = Number(event.target.dataset.column);
    const target = {
      ArrowLeft: () => rows[y][x - 1],
      ArrowRight: () => rows[y][x + 1],
      ArrowUp: () => rows[y - 1] && nearest(rows[y - 1], column),
      ArrowDown: () => rows[y + 1] && nearest(rows[y + 1], column),
      Home: () => rows[y][0],
      End: () => rows[y][rows[y].length - 1],
    }[event.key]?.();
    if (target) { event.preventDefault(); focus(target); }
  });
}
