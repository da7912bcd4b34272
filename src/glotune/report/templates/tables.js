// A table whose columns sort by click or key. columns: {name, cell(row) -> node or text, key(row) -> number or string,
// words, note}; a row that `isMean` stays last; the order is kept in `state`, so that a redrawn table stays sorted.
function sortable(columns, rows, state) {
  const body = element("tbody");
  const heads = columns.map((column, place) => element("th", { scope: "col", class: column.words ? "words" : null, title: column.note },
    element("button", { type: "button", onclick: () => sortBy(place) }, column.name)));
  const table = element("table", { class: state.cards ? "cards" : null }, element("thead", {}, element("tr", {}, heads)), body);
  function sortBy(place) {
    state.descending = state.column === place ? !state.descending : columns[place].words !== true;
    state.column = place;
    fill();
  }
  function fill() {
    const ordered = rows.filter((row) => !row.isMean);
    if (state.column !== null && state.column !== undefined) {
      const key = columns[state.column].key, sign = state.descending ? -1 : 1;
      ordered.sort((first, second) => order(key(first), key(second), sign));
    }
    heads.forEach((head, place) => {
      if (place === state.column) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const shown = [...ordered.slice(0, state.limit || ordered.length), ...rows.filter((row) => row.isMean)];
    body.replaceChildren(...shown.map((row) => element("tr", { class: row.isMean ? "mean" : null }, columns.map((column) => {
      const content = column.cell(row);
      const cell = content instanceof HTMLTableCellElement ? content : element("td", { class: column.words ? "words" : null }, content);
      cell.dataset.name = column.name;
      return cell;
    }))));
  }
  fill();
  return element("div", { class: "scroll" }, table);
}

// Missing values go last whichever way a column is sorted.
function order(first, second, sign) {
  const noFirst = first === null || first === undefined, noSecond = second === null || second === undefined;
  if (noFirst || noSecond) return noFirst - noSecond;
  return sign * (typeof first === "string" ? first.localeCompare(second) : first - second);
}

function pairTable(pairs) {
  return element("div", { class: "scroll" }, element("table", { class: "words" }, element("tbody", {},
    pairs.map(([name, value]) => element("tr", {}, element("td", {}, name), element("td", { dir: "auto" }, value))))));
}

function plainTable(columns, rows) {
  const numeric = (text) => { const found = /^[-+–]?[\d,]+\.?\d*/.exec(text); return found ? parseFloat(found[0].replace(/,/g, "")) : text; };
  const state = { column: null };
  return sortable(columns.map((name, place) => ({
    name, words: place === 0, cell: (row) => element("td", { dir: "auto" }, row[place]), key: (row) => numeric(row[place]),
  })), rows, state);
}

// The part of `text` that was searched for, marked; made of text nodes alone.
function marked(text, needle) {
  if (!needle) return [text];
  const parts = [], folded = text.toLowerCase();
  let start = 0;
  for (let found = folded.indexOf(needle); found >= 0 && folded.length === text.length; found = folded.indexOf(needle, start)) {
    parts.push(text.slice(start, found), element("mark", {}, text.slice(found, found + needle.length)));
    start = found + needle.length;
  }
  parts.push(text.slice(start));
  return parts;
}
