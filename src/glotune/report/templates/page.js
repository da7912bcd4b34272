// The page: what is picked, and its sections drawn from the data.
const DATA = JSON.parse(document.getElementById("data").textContent);
const COLORS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"].map((name) => `var(${name})`);
const DASHES = [null, "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];
const LANGUAGES = [];
for (const run of DATA.runs) for (const each of run.languages) if (!LANGUAGES.some((known) => known.code === each.code)) LANGUAGES.push(each);

const picked = {
  runs: new Set(firstRuns()),
  languages: new Set(firstLanguages()),
  split: DATA.runs.some((run) => run.split === "test") ? "test" : "validation",
  metric: DATA.runs.length ? DATA.runs[0].metric : "macro_f1", curve: "loss", matrix: null,
};
const sorting = { results: { column: null }, mistakes: { column: null } };
const mistakes = { search: "", order: "loss", label: "", predicted: "", shown: 40 };

// All runs while they are few; otherwise one of each name, four at most.
function firstRuns() {
  if (DATA.runs.length <= 4) return DATA.runs.map((run) => run.id);
  const named = new Map();
  for (const run of DATA.runs) {
    const name = run.name.replace(/[-_. ]*seed[-_. ]*\d+$/, "");
    if (!named.has(name)) named.set(name, run.id);
  }
  return [...named.values()].slice(0, 4);
}

// All languages while their lines can be told apart; otherwise the sources and both ends of the ranking.
function firstLanguages() {
  const codes = LANGUAGES.map((each) => each.code);
  return codes.length <= 8 ? codes : [...codes.slice(0, 4), ...codes.slice(-4)];
}

// A picked language keeps its colour while others come and go; a new one takes the first that is free.
const slots = new Map();
function colorOf(code) {
  if (!picked.languages.has(code)) return "var(--muted)";
  if (!slots.has(code)) {
    const taken = new Set(slots.values());
    const free = COLORS.findIndex((_, place) => !taken.has(place));
    slots.set(code, free >= 0 ? free : slots.size);
  }
  return COLORS[slots.get(code) % COLORS.length];
}

// Several runs on one language: a colour for each run, as the language tells nothing apart.
const colorIn = (run, code) => (several && picked.languages.size === 1 ? COLORS[pickedRuns().indexOf(run) % COLORS.length] : colorOf(code));
const dashOf = (run) => DASHES[DATA.runs.indexOf(run) % DASHES.length];
const pickedRuns = () => DATA.runs.filter((run) => picked.runs.has(run.id));
const several = DATA.runs.length > 1;
const runTitle = (run) => (DATA.runs.filter((other) => other.name === run.name).length > 1 ? `${run.name} · seed ${run.seed}` : run.name);
const nameOf = (run, code) => (several ? `${code} · ${runTitle(run)}` : fullName(code));
// By language in the run's own order: sources first, then from the best target down.
const ordered = (run, byLanguage) => run.languages.map((each) => [each.code, (byLanguage || {})[each.code]]).filter(([, each]) => each);

function fullName(code) {
  const found = LANGUAGES.find((each) => each.code === code);
  return found && found.name !== code ? `${found.name} (${code})` : code;
}
const traitOf = (metric) => DATA.metrics[metric] || { name: metric.replace(/_/g, " "), percent: false, higher: true };
const shownValue = (metric, value) => (value === null || value === undefined ? null : traitOf(metric).percent ? 100 * value : value);
const digitsOf = (metric) => (traitOf(metric).percent ? 1 : 3);

const scored = DATA.runs.every((run) => run.scored);
const holders = {};
function section(key, title, ...before) {
  holders[key] = element("div");
  return element("section", { id: key }, title ? element("h2", {}, title) : null, before, holders[key]);
}

// What stands under "errors": scores have neither classes nor curves, several labels no confusion of one with another.
function errorsTitle() {
  if (scored) return null;
  const matrix = DATA.runs.some((run) => Object.values(run.evaluations[run.split] || {}).some((each) => each.confusion.length));
  return matrix ? "Confusion, curves and calibration" : "Curves and calibration";
}

function build() {
  const errors = errorsTitle();
  const main = document.getElementById("main");
  main.replaceChildren(...[
    several ? null : section("overview", null),
    DATA.tables.length ? section("runs", null) : null,
    several ? section("overview", null) : null, section("picks", null),
    section("results", "Results"), section("charts", "Scores and transfer"), section("training", "Training"),
    errors ? section("errors", errors) : null, section("mistakes", "Mistakes"), section("details", "Details"),
    element("footer", {}, "Written by glotune. This page holds all its data and asks for nothing from outside."),
  ].filter(Boolean));
  holders.picks.parentElement.className = "picks";
  drawOverview();
  if (DATA.tables.length) drawTables();
  buildMistakes();
  drawDetails();
  redraw();
}

function redraw() {
  hideTip();
  for (const code of [...slots.keys()]) if (!picked.languages.has(code)) slots.delete(code);
  drawPicks(); drawResults(); drawCharts(); drawTraining(); drawErrors(); drawMistakes();
}

function drawOverview() {
  const many = DATA.runs.length > 4;
  holders.overview.replaceChildren(...DATA.runs.filter((run) => !many || run.isSound === false).map((run) => {
    const verdict = run.verdict;
    return element("div", { class: `verdict ${verdict ? verdict.status.replace(" ", "-") : ""}` },
      element("p", { class: "lead" }, several ? element("b", {}, `${runTitle(run)}: `) : null, element("b", {}, verdict ? verdict.status : run.status), ". ", run.headline),
      many && verdict ? element("details", {}, element("summary", {}, "Evidence and what to do"), reasons(verdict)) : reasons(verdict));
  }));
}

function reasons(verdict) {
  if (!verdict) return [];
  const remedy = verdict.remedy.length ? [element("p", {}, "What to do:"), element("ul", {}, verdict.remedy.map((each) => element("li", {}, each)))] : [];
  return [...verdict.evidence.map((sentence) => element("p", {}, sentence)), ...remedy];
}

function drawPicks() {
  const toggle = (set, value) => { if (set.has(value)) set.delete(value); else set.add(value); redraw(); };
  const chips = (label, entries, set) => element("div", { class: "chips" }, element("b", {}, label), entries.map(([value, text, color]) =>
    element("button", { type: "button", class: "chip", "aria-pressed": String(set.has(value)), color, "data-value": value, onclick: () => toggle(set, value) }, text)),
    element("button", { type: "button", class: "small", onclick: () => { entries.forEach(([value]) => set.add(value)); redraw(); } }, "all"),
    element("button", { type: "button", class: "small", onclick: () => { set.clear(); redraw(); } }, "none"));
  const focus = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.value : null;
  holders.picks.replaceChildren(
    several ? chips("Runs", DATA.runs.map((run) => [run.id, runTitle(run), null]), picked.runs) : "",
    chips("Languages", LANGUAGES.map((each) => [each.code, `${fullName(each.code)}${each.source ? " · source" : ""}`, colorOf(each.code)]), picked.languages));
  if (focus) { const again = [...holders.picks.querySelectorAll("[data-value]")].find((each) => each.dataset.value === focus); if (again) again.focus(); }
}

function drawTables() {
  holders.runs.replaceChildren(...DATA.tables.flatMap((table) => {
    const columns = table.columns.map((column, place) => ({
      name: column.name, words: !column.numeric, note: column.note,
      cell: (row) => {
        const { text, best, href } = row[place];
        const content = href ? element("a", { href }, text) : text;
        return element("td", { class: column.numeric ? null : "words" }, best ? element("strong", {}, content) : content);
      },
      key: (row) => (column.numeric ? row[place].value : row[place].text),
    }));
    return [table.title ? element("h2", {}, table.title) : null, sortable(columns, table.rows, { column: null }),
      ...(table.notes || []).map((note) => element("p", { class: "note" }, note))].filter(Boolean);
  }));
}

const SHORT = { ece: "ECE", roc_auc: "AUC", weighted_f1: "Weighted F1" };
const RESULT_METRICS = [...new Set(DATA.runs.flatMap((run) => run.told))].filter((metric) => DATA.runs.some((run) =>
  Object.values(run.evaluations).some((split) => Object.values(split).some((each) => typeof each.scores[metric] === "number"))));
const SHARES = DATA.runs.every((run) => run.unit === "points");
const METRIC_NAME = [...new Set(DATA.runs.map((run) => traitOf(run.metric).name))].join(" / ").replace("Macro-F1", "macro-F1");
const UNIT = SHARES ? "points" : "the metric's unit";
const gapDigits = SHARES ? 1 : 3;

function drawResults() {
  const rows = pickedRuns().flatMap((run) => ordered(run, run.evaluations[picked.split]).map(([code, each]) => ({ run, code, each })));
  for (const run of pickedRuns()) if (run.means[picked.split]) rows.push({ run, code: null, each: run.means[picked.split], isMean: true });
  const splits = ["test", "validation", "train"].filter((split) => DATA.runs.some((run) => run.evaluations[split]));
  const gap = (row) => (row.run.transfer && picked.split === row.run.split ? (row.isMean ? row.run.transfer.average : row.run.transfer.gaps[row.code]) : null) || null;
  const over = (row) => (picked.split === row.run.split ? row.run.overBaseline[row.isMean ? "mean" : row.code] : null) || null;
  const profile = (row, key) => (picked.split === row.run.split && row.run.profile[row.code] ? row.run.profile[row.code][key] : null);
  const columns = [
    { name: "Language", words: true, cell: (row) => row.isMean ? row.each.name : `${fullName(row.code)}${row.run.languages.find((each) => each.code === row.code).source ? " · source" : ""}`, key: (row) => row.code },
    ...(several ? [{ name: "Run", words: true, cell: (row) => runTitle(row.run), key: (row) => row.run.name }] : []),
    { name: "n", cell: (row) => row.each.n.toLocaleString("en"), key: (row) => row.each.n },
    ...RESULT_METRICS.map((metric) => ({
      name: (SHORT[metric] || traitOf(metric).name) + (traitOf(metric).percent ? " %" : ""), note: traitOf(metric).name,
      cell: (row) => {
        const interval = row.each.intervals[metric];
        const floor = metric === "ece" && typeof row.each.eceFloor === "number" ? element("small", {}, `${fixed(100 * row.each.eceFloor, 1)} by chance`) : null;
        return [fixed(shownValue(metric, row.each.scores[metric]), digitsOf(metric)), floor, interval ? element("small", {}, interval.map((end) => fixed(shownValue(metric, end), digitsOf(metric))).join(" to ")) : null];
      },
      key: (row) => row.each.scores[metric],
    })),
    ...(pickedRuns().some((run) => run.tunedFor) ? [{
      name: "Most probable", note: "The metric that thresholds were tuned for, had the most probable class been answered",
      cell: (row) => (row.run.tunedFor ? fixed(shownValue(row.run.tunedFor, row.each.mostProbable), digitsOf(row.run.tunedFor)) : "–"),
      key: (row) => row.each.mostProbable,
    }] : []),
    { name: SHARES ? "Gap, points" : "Gap", note: `Transfer gap in ${UNIT} of ${METRIC_NAME}`, cell: (row) => (gap(row) ? [fixed(gap(row)[0], gapDigits), element("small", {}, `${fixed(gap(row)[1], gapDigits)} to ${fixed(gap(row)[2], gapDigits)}`)] : "–"), key: (row) => (gap(row) ? gap(row)[0] : null) },
    ...(pickedRuns().some((run) => Object.keys(run.overBaseline).length) ? [{ name: "− TF-IDF", note: `This run minus TF-IDF on the same training texts, in ${UNIT} of ${METRIC_NAME}`, cell: (row) => (over(row) ? [fixed(over(row)[0], gapDigits), element("small", {}, `${fixed(over(row)[1], gapDigits)} to ${fixed(over(row)[2], gapDigits)}`)] : "–"), key: (row) => (over(row) ? over(row)[0] : null) }] : []),
    { name: "Tokens/word", note: "Fertility: high where the tokenizer knows a language badly", cell: (row) => fixed(profile(row, "fertility"), 2), key: (row) => profile(row, "fertility") },
    { name: "Unknown", note: "Share of unknown tokens", cell: (row) => percentText(profile(row, "unknown"), 2), key: (row) => profile(row, "unknown") },
    { name: "Truncated", cell: (row) => percentText(profile(row, "truncation")), key: (row) => profile(row, "truncation") },
  ];
  holders.results.replaceChildren(
    splits.length > 1 ? element("div", { class: "bar" }, select("Split", splits.map((split) => [split, split]), picked.split, (value) => { picked.split = value; redraw(); })) : "",
    rows.length ? sortable(columns, rows, sorting.results) : element("p", {}, "Nothing was evaluated on a kept checkpoint yet."),
    element("p", { class: "note" }, `Below each score: its 95 % bootstrap interval over texts; it says nothing about other seeds. ${scored ? "" : "ECE by chance: what a perfectly calibrated model would show on so many texts. "}Click a column to sort.`),
    ...pickedRuns().filter((run) => run.answering).map((run) => element("p", { class: "note" }, `${several ? `${runTitle(run)}: ` : ""}${run.answering}`)),
    ...pickedRuns().filter((run) => run.split).map((run) => element("p", { class: "note" }, `${several ? `${runTitle(run)}: checkpoint` : "Checkpoint"} kept: ${run.selection}.`)));
}

function drawCharts() {
  const metrics = RESULT_METRICS.filter((metric) => DATA.runs.some((run) => Object.values(run.evaluations).some((split) => Object.values(split).some((each) => each.scores[metric] !== undefined))));
  const rows = pickedRuns().flatMap((run) => ordered(run, run.evaluations[picked.split]).filter(([code]) => picked.languages.has(code)).map(([code, each]) => {
    const value = shownValue(picked.metric, each.scores[picked.metric]);
    if (value === null) return null;
    const interval = each.intervals[picked.metric];
    const [low, high] = interval ? interval.map((end) => shownValue(picked.metric, end)) : [null, null];
    const digits = digitsOf(picked.metric);
    return { name: nameOf(run, code), color: colorIn(run, code), value, low, high, tip: `${fullName(code)}${several ? `, ${runTitle(run)}` : ""}\n${traitOf(picked.metric).name} ${fixed(value, digits)}${interval ? ` (${fixed(low, digits)} to ${fixed(high, digits)})` : ""}\nn = ${each.n}` };
  })).filter(Boolean);
  const gaps = pickedRuns().flatMap((run) => (run.transfer ? Object.entries(run.transfer.gaps).filter(([code]) => picked.languages.has(code)).map(([code, [value, low, high]]) => ({
    name: nameOf(run, code), color: colorIn(run, code), value, low, high,
    tip: `${fullName(code)}: ${fixed(value, gapDigits)} ${run.unit} below ${run.transfer.source.join(", ")}\n95 % interval ${fixed(low, gapDigits)} to ${fixed(high, gapDigits)}` + (run.profile[code] ? `\ntokens per word ${fixed(run.profile[code].fertility, 2)}, unknown ${percentText(run.profile[code].unknown, 2)}` : ""),
  })) : []));
  gaps.sort((first, second) => second.value - first.value);
  for (const run of pickedRuns()) if (run.transfer && run.transfer.average && Object.keys(run.transfer.gaps).length > 1) {
    const [value, low, high] = run.transfer.average;
    gaps.push({ name: several ? `average · ${runTitle(run)}` : "average", color: "var(--muted)", value, low, high,
      tip: `average over ${Object.keys(run.transfer.gaps).length} languages: ${fixed(value, gapDigits)} ${run.unit}\n95 % interval ${fixed(low, gapDigits)} to ${fixed(high, gapDigits)}` });
  }
  holders.charts.replaceChildren(
    element("div", { class: "bar" }, select("Metric", metrics.map((metric) => [metric, traitOf(metric).name]), picked.metric, (value) => { picked.metric = value; redraw(); })),
    element("div", { class: "grid wide" },
      intervalChart(rows, { title: `${traitOf(picked.metric).name} by language (${picked.split})`, x: traitOf(picked.metric).percent ? "%, with 95 % intervals" : "with 95 % intervals", columns: 2 }),
      intervalChart(gaps, { title: `Transfer gap (${METRIC_NAME}, source minus target)${pickedRuns().some((run) => run.isSound === false) ? ": meaningless where a run is not sound" : ""}`, x: `${UNIT}, with 95 % intervals`, zero: true, columns: 2, empty: "No target language beside a source language is picked." })),
    ...pickedRuns().filter((run) => run.transferNote).map((run) => element("p", { class: "note" }, `${several ? `${runTitle(run)}: ` : ""}${run.transferNote}`)));
}

// The lines of a curve or rate as points; what they show is computed where the pictures' data is.
const pointsOf = (line, factor = 1) => line.x.map((x, at) => [x, factor * line.y[at]]);

function drawTraining() {
  const metric = picked.curve, percent = traitOf(metric).percent, factor = percent ? 100 : 1;
  const lineOf = (run, line) => (line.role === "train"
    ? { name: several ? `training · ${runTitle(run)}` : "training", color: several && picked.languages.size === 1 ? colorIn(run) : "var(--ink)", dash: "5 3", marks: false, points: pointsOf(line, factor) }
    : { name: nameOf(run, line.language), color: colorIn(run, line.language), dash: dashOf(run), points: pointsOf(line, factor) });
  const chart = (split) => {
    const panels = pickedRuns().flatMap((run) => (run.history.curves[metric] || []).filter((panel) => panel.split === split).map((panel) => ({ run, ...panel })));
    if (split === "test" && !panels.length) return null;
    const lines = panels.flatMap(({ run, lines: all }) => all.filter((line) => line.role === "train" || picked.languages.has(line.language)).map((line) => lineOf(run, line)));
    const one = pickedRuns().length === 1 ? pickedRuns()[0].history.bestEpoch : null;
    const { title, references } = panels[0] || { title: traitOf(metric).name, references: [] };
    return lineChart(lines, { title, x: "epoch", y: percent ? "%" : "", references, marker: one, digits: digitsOf(metric), unit: percent ? " %" : "", columns: 2 });
  };
  const rates = pickedRuns().map((run, place) => ({ name: several ? runTitle(run) : "learning rate", color: several ? COLORS[place % COLORS.length] : COLORS[0], dash: several ? dashOf(run) : null, marks: false, legend: several, points: pointsOf(run.history.rate) }));
  holders.training.replaceChildren(
    element("div", { class: "bar" }, select("Curve", [...new Set(DATA.runs.flatMap((run) => run.followed))].map((each) => [each, traitOf(each).name]), metric, (value) => { picked.curve = value; redraw(); })),
    element("div", { class: "grid wide" }, chart("validation"), chart("test"), lineChart(rates, { title: "Learning rate", x: "step", y: "", digits: 6, columns: 2 })));
}

function drawErrors() {
  if (!holders.errors) return;
  const places = pickedRuns().flatMap((run) => ordered(run, run.evaluations[run.split]).map(([code]) => code).filter((code) => picked.languages.has(code)).map((code) => ({ run, code, key: `${run.id}/${code}` })));
  if (!places.length) { holders.errors.replaceChildren(element("p", { class: "note" }, "Pick a run and a language.")); return; }
  const place = places.find((each) => each.key === picked.matrix) || places[0];
  const { run, code } = place, each = run.evaluations[run.split][code];
  const roc = (run.roc[code] || []).map((line, index) => ({ name: `${line.label}, AUC ${fixed(line.auc, 3)}`, color: COLORS[index % COLORS.length], dash: DASHES[index % DASHES.length], marks: false, points: pointsOf(line) }));
  const recall = (run.precisionRecall[code] || []).map((line, index) => ({ name: `${line.label}, AP ${fixed(line.ap, 3)} (${percentText(line.prevalence, 0)} of texts)`, color: COLORS[index % COLORS.length], dash: DASHES[index % DASHES.length], marks: false, points: pointsOf(line) }));
  const bins = run.calibration[code];
  const table = each.confusion.length ? matrixTable(`Confusion (${run.split}, ${fullName(code)}, n = ${each.n})`, run.labels, each.confusion) : null;
  const said = bins ? intervalChart(bins.bins.map(([confidence, accuracy, low, high, n]) => ({ name: `says ${(100 * confidence).toFixed(0)} %`, color: n < 20 ? "var(--c7)" : COLORS[0], value: 100 * accuracy, low: 100 * low, high: 100 * high, tip: `says ${percentText(confidence)}, is right ${percentText(accuracy)}\n95 % interval ${percentText(low)} to ${percentText(high)}\n${n} texts` })),
    { title: `Calibration: ECE ${fixed(100 * bins.ece, 1)} points (${fixed(100 * bins.floor, 1)} by chance)`, x: "% right, by stated confidence (grey: under 20 texts)", columns: 3 }) : null;
  holders.errors.replaceChildren(
    element("div", { class: "bar" }, select("Language", places.map((one) => [one.key, several ? `${fullName(one.code)} · ${runTitle(one.run)}` : fullName(one.code)]), place.key, (value) => { picked.matrix = value; drawErrors(); })),
    element("div", { class: "grid" },
      table || said ? element("div", { class: "stack" }, table, said) : null,
      !roc.length && run.metric !== "macro_f1" ? null : lineChart(roc, { title: each.confusion.length ? "ROC, one class against the rest" : "ROC of each label", x: "false positive rate", y: "true positive rate", square: true, diagonal: true, digits: 3, columns: 3 }),
      !recall.length && run.metric !== "macro_f1" ? null : lineChart(recall, { title: "Precision over recall", x: "recall", y: "precision", square: true, digits: 3, columns: 3 })));
}

// ---- mistakes: the controls stay while their table is redrawn, so that typing is not interrupted

function buildMistakes() {
  const labels = [...new Set(DATA.runs.flatMap((run) => run.labels))];
  const change = (key) => (value) => { mistakes[key] = value; mistakes.shown = 40; drawMistakes(); };
  const choices = [["", "any"], ...labels.map((label) => [label, label])];
  holders.mistakeTable = element("div");
  holders.mistakes.replaceChildren(
    element("div", { class: "bar" },
      element("input", { type: "search", id: "search", placeholder: "Search the texts", "aria-label": "Search the texts", dir: "auto", oninput: (event) => change("search")(event.target.value) }),
      ...(scored ? [] : [select("Order", [["loss", "worst errors"], ["confidence", "most confident mistakes"]], mistakes.order, (value) => { sorting.mistakes.column = null; change("order")(value); }),
      select("True", choices, "", change("label")), select("Predicted", choices, "", change("predicted"))])),
    holders.mistakeTable);
}

// A class id, or the words of several labels or scores.
const worded = (run, label) => (typeof label === "number" ? run.labels[label] : label);
const holds = (run, label, wanted) => (typeof label === "number" ? run.labels[label] === wanted : label.split(", ").includes(wanted));

function drawMistakes() {
  const needle = mistakes.search.trim().toLowerCase();
  const rows = [];
  for (const run of pickedRuns()) {
    for (const [code, row, label, predicted, confidence, loss, text, pair, dir] of run.mistakes) {
      if (!picked.languages.has(code)) continue;
      if (mistakes.label && !holds(run, label, mistakes.label)) continue;
      if (mistakes.predicted && !holds(run, predicted, mistakes.predicted)) continue;
      if (needle && !`${text || ""}\n${pair || ""}`.toLowerCase().includes(needle)) continue;
      rows.push({ run, code, row, label: worded(run, label), predicted: worded(run, predicted), confidence, loss, text, pair, dir });
    }
  }
  rows.sort((first, second) => second[mistakes.order] - first[mistakes.order]);
  const columns = [
    { name: "Text", words: true, key: (row) => row.text || "", cell: (row) => element("td", { class: "text", dir: row.dir, lang: row.code },
      row.text === null ? element("span", { class: "note" }, "(the recipe keeps no text)") : element("div", {}, marked(row.text, needle)), row.pair ? element("div", { class: "pair" }, marked(row.pair, needle)) : null) },
    { name: "Language", words: true, key: (row) => row.code, cell: (row) => row.code },
    ...(several ? [{ name: "Run", words: true, key: (row) => row.run.name, cell: (row) => runTitle(row.run) }] : []),
    { name: "True", words: true, key: (row) => row.label, cell: (row) => element("td", { class: "words said", dir: "auto" }, row.label) },
    { name: "Predicted", words: true, key: (row) => row.predicted, cell: (row) => element("td", { class: "words said bad", dir: "auto" }, row.predicted) },
    ...(scored ? [] : [{ name: "Confidence", key: (row) => row.confidence, cell: (row) => percentText(row.confidence) }]),
    { name: "Loss", key: (row) => row.loss, cell: (row) => fixed(row.loss, 2) },
    { name: "Row", note: "Row in the source file", key: (row) => row.row, cell: (row) => row.row },
  ];
  sorting.mistakes.limit = mistakes.shown;
  sorting.mistakes.cards = true;
  const held = pickedRuns().reduce((sum, run) => sum + run.mistakes.filter((each) => picked.languages.has(each[0])).length, 0);
  const all = pickedRuns().reduce((sum, run) => sum + Object.entries(run.mistakeCounts).reduce((part, [code, count]) => part + (picked.languages.has(code) ? count : 0), 0), 0);
  holders.mistakeTable.replaceChildren(
    element("p", { class: "note", id: "found" }, `${rows.length.toLocaleString("en")} found${rows.length > mistakes.shown ? `, ${mistakes.shown} shown` : ""}. The page holds ${held.toLocaleString("en")} of ${all.toLocaleString("en")} mistakes in the picked languages: the worst${scored ? "" : " and the most confident"} of each.`),
    rows.length ? sortable(columns, rows, sorting.mistakes) : "",
    rows.length > mistakes.shown ? element("div", { class: "bar" }, element("button", { type: "button", id: "more", onclick: () => { mistakes.shown += 100; drawMistakes(); } }, "Show more")) : "");
}

function drawDetails() {
  holders.details.replaceChildren(...DATA.runs.flatMap((run) => {
    const parts = sectionsOf(run);
    return several ? [element("details", {}, element("summary", {}, runTitle(run)), parts)] : parts;
  }));
}

function sectionsOf(run) {
  return run.sections.map((each) => {
    const content = each.pairs ? pairTable(each.pairs) : each.list ? element("ul", {}, each.list.map((line) => element("li", { dir: "auto" }, line))) : plainTable(each.columns, each.rows);
    return element("details", {}, element("summary", {}, each.title), content);
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  requestAnimationFrame(redraw);
});
build();
