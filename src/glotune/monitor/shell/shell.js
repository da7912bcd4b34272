"use strict";
// Asks for the state every two seconds, and loads a report again only when its version changed, at the same place.

const PERIOD = 2000;
const part = (id) => document.getElementById(id);
let shown = { key: null, version: null };

function fillRuns(runs) {
  const select = part("runs");
  const chosen = select.value || (runs.length ? runs[0].key : "");
  const options = runs.map((run) => {
    const option = document.createElement("option");
    option.value = run.key;
    option.textContent = [run.name, run.state, run.verdict, run.score].filter((word) => word && word !== "-").join(" · ");
    return option;
  });
  select.replaceChildren(...options);
  if (runs.some((run) => run.key === chosen)) select.value = chosen;
  return runs.find((run) => run.key === select.value);
}

function showRun(run) {
  part("facts").textContent = run ? `${run.state}: ${run.facts}` : "No runs here yet.";
  part("alarms").textContent = run ? run.alarms.join("\n") : "";
  const share = part("share");
  share.hidden = !run || run.share === null;
  if (run && run.share !== null) share.value = run.share;
  if (!run || (run.key === shown.key && run.version === shown.version)) return;
  const frame = part("report");
  const again = run.key === shown.key;
  const place = again && frame.contentWindow ? frame.contentWindow.scrollY : 0;
  frame.onload = () => frame.contentWindow.scrollTo(0, place);
  frame.src = `/report?run=${encodeURIComponent(run.key)}&version=${encodeURIComponent(run.version)}`;
  shown = { key: run.key, version: run.version };
}

async function look() {
  try {
    const answer = await fetch("/state");
    if (!answer.ok) throw new Error(await answer.text());
    const state = await answer.json();
    showRun(fillRuns(state.runs));
    part("machine").textContent = [state.machine, ...state.problems].join("; ");
  } catch (error) {
    part("machine").textContent = `The monitor does not answer: ${error.message}. Start it again and open its new link.`;
  }
}

part("runs").addEventListener("change", look);
setInterval(look, PERIOD);
look();
