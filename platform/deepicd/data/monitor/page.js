// The monitor's page: asks /v1/monitor again and again and draws what it says.
// Everything the endpoint says is put in as text, never as HTML.

const PERIOD_MS = 5000;
const DASHES = { champion: "solid", canary: "dash", shadow: "dot" };
const find = (id) => document.getElementById(id);
const few = (row, prefix = "") => (row[`${prefix}has_few_patients`] ? " (few patients)" : "");
const shown = (number, digits = 3) => (number == null ? "–" : Number(number).toFixed(digits));
const percent = (share) => (share == null ? "–" : `${(100 * share).toFixed(1)}%`);
const when = (seconds) => seconds == null ? "–" : new Date(1000 * seconds).toISOString().slice(0, 19).replace("T", " ");
const distance = (one, other) => (one == null || other == null ? 0 : one - other);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  if (className) made.className = className;
  return made;
}

function say(id, text) {
  find(id).replaceChildren(element("p", text));
}

// columns: [title, row -> text, row -> class]
function table(id, rows, columns, empty) {
  if (!rows?.length) return say(id, empty);
  const made = element("table");
  made.createCaption().textContent = find(id).closest("section").querySelector("h2").textContent;
  const head = made.createTHead().insertRow();
  for (const [title, , kind] of columns) {
    const cell = element("th", title, kind === "number" ? "number" : "");
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const [, read, kind] of columns) {
      line.append(element("td", read(row), typeof kind === "function" ? kind(row) : kind));
    }
  }
  find(id).replaceChildren(made);
}

function draw(id, traces, title, empty) {
  const figure = find(id);
  figure.classList.toggle("empty", !traces.length);
  if (!traces.length) {
    Plotly.purge(figure);
    return figure.replaceChildren(element("p", empty));
  }
  figure.querySelector(":scope > p")?.remove();
  const ink = getComputedStyle(document.body).color;
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink },
    margin: { t: 10, r: 10, b: 40, l: 50 }, height: 320, legend: { orientation: "h" },
    yaxis: { title: { text: title }, range: [0, 1], gridcolor: "rgba(128,128,128,0.3)" },
    xaxis: { gridcolor: "rgba(128,128,128,0.3)" }, barmode: "group",
  };
  Plotly.react(figure, traces, layout, { displayModeBar: false, responsive: true });
}

function byAnswerer(windows) {
  const groups = new Map();
  for (const window of windows ?? []) {
    const name = `${window.version} (${window.role ?? "champion"})`;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(window);
  }
  return groups;
}

// Plotly reads a little HTML in names; the endpoint's words must not become any.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

// spread: the names of a row's lower and upper bound
function lines(windows, read, spread) {
  const traces = [];
  for (const [name, rows] of byAnswerer(windows)) {
    const kept = rows.filter((row) => read(row) != null);
    if (!kept.length) continue;
    const trace = {
      name: plain(name), x: kept.map((row) => when(row.end)), y: kept.map(read),
      mode: "lines+markers", line: { dash: DASHES[kept[0].role] ?? "solid" },
    };
    if (spread) {
      trace.error_y = {
        type: "data", symmetric: false,
        array: kept.map((row) => distance(row[spread[1]], read(row))),
        arrayminus: kept.map((row) => distance(read(row), row[spread[0]])),
      };
    }
    traces.push(trace);
  }
  return traces;
}

function levels(windows) {
  const names = ["chapter", "category", "full"];
  const traces = [];
  for (const [name, rows] of byAnswerer(windows)) {
    const latest = rows.filter((row) => row.macro_f1_full != null).at(-1);
    if (!latest) continue;
    traces.push({
      type: "bar", name: plain(name), x: names,
      y: names.map((level) => latest[`macro_f1_${level}`]),
    });
  }
  return traces;
}

function show(report) {
  const status = find("status");
  const words = { on: "predictions are being kept", off: "no prediction log is configured", blind: "BLIND: predictions cannot be kept" };
  const counts = report.counts ?? {};
  status.className = report.status;
  status.textContent = `${words[report.status] ?? report.status}; ${counts.num_predictions ?? 0} predictions, ` +
    `${counts.num_labelled ?? 0} labelled, ${counts.num_waiting ?? 0} labels wait; ${when(Date.now() / 1000)} UTC`;
  table("alerts", report.alarms, [
    ["state", (row) => row.state, (row) => row.state],
    ["rule", (row) => `${row.rule} (${row.severity})`],
    ["version", (row) => `${row.version} (${row.role})`],
    ["value", (row) => shown(row.value), "number"],
    ["since (UTC)", (row) => when(row.since)],
    ["what to do", (row) => row.runbook],
  ], "No alert.");
  table("served", report.served, [
    ["version", (row) => row.version],
    ["role", (row) => row.role],
    ["requests", (row) => (row.role === "shadow" ? "copies" : `${row.percent}%`), "number"],
  ], "Nothing is served.");
  draw("f1", lines(report.windows, (row) => row.hierarchical_f1, ["low", "high"]), "hierarchical F1", "No prediction has a label yet.");
  draw("levels", levels(report.windows), "macro-F1", "No prediction has a label yet.");
  draw("shares", [
    ...lines(report.windows, (row) => row.share_unparsable),
    ...lines(report.windows, (row) => row.share_nonexistent).map((trace) => ({ ...trace, name: `${trace.name}, non-existent`, mode: "markers" })),
  ], "share of answers", "No prediction yet.");
  draw("calibration", lines(report.windows, (row) => row.calibration_error), "calibration error", "No labelled answer has a confidence yet.");
  draw("estimate", [
    ...lines(report.windows, (row) => row.estimated_accuracy, ["estimated_low", "estimated_high"]),
    ...lines(report.windows, (row) => row.labelled_accuracy).map((trace) => ({ ...trace, name: `${trace.name}, by labels`, mode: "markers" })),
  ], "right chapters", "No version that answers has calibrated confidences.");
  table("pairs", report.pairs, [
    ["versions", (row) => `${row.version} beside ${row.other}`],
    ["notes", (row) => row.num_pairs, "number"],
    ["agree: code", (row) => percent(row.agreement_code), "number"],
    ["category", (row) => percent(row.agreement_category), "number"],
    ["chapter", (row) => percent(row.agreement_chapter), "number"],
    ["difference in hierarchical F1", (row) => row.difference == null ? "no labels yet" : `${shown(row.difference)} [${shown(row.low)}, ${shown(row.high)}]${few(row)}, ${row.num_labelled} labelled`],
  ], "No version shadows the champion.");
  table("drift", report.drift, [
    ["feature", (row) => row.feature],
    ["version", (row) => `${row.version} (${row.role})`],
    ["stability index", (row) => shown(row.psi), "number"],
    ["p (Holm)", (row) => shown(row.p, 4), "number"],
    ["", (row) => (row.is_drifting ? "drifts" : "steady"), (row) => (row.is_drifting ? "firing" : "")],
  ], "No version has two windows of predictions yet.");
  table("subgroups", report.subgroups, [
    ["group", (row) => `${row.attribute}: ${row.group}`],
    ["version", (row) => `${row.version} (${row.role})`],
    ["labelled", (row) => row.num_labelled, "number"],
    ["hierarchical F1", (row) => `${shown(row.hierarchical_f1)} [${shown(row.low)}, ${shown(row.high)}]${few(row)}`],
    ["gap to the others", (row) => (row.gap === null ? "–" : `${shown(row.gap)} [${shown(row.gap_low)}, ${shown(row.gap_high)}]${few(row, "gap_")}`)],
  ], "No group has enough labelled answers.");
  table("decisions", report.decisions, [
    ["when (UTC)", (row) => when(row.time)],
    ["event", (row) => row.kind],
    ["version", (row) => row.version],
    ["why", (row) => row.reason],
  ], "The endpoint follows no registry.");
}

function ask(path) {
  const token = sessionStorage.getItem("token");
  return fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

async function showRollouts() {
  const reply = await ask("v1/rollouts");
  const found = await reply.json();
  if (!reply.ok) return say("rollouts", found.detail ?? `the endpoint answers ${reply.status}`);
  table("rollouts", found.rollouts, [
    ["gold", (row) => row.gold],
    ["answer", (row) => row.code ?? row.reason],
    ["reward", (row) => shown(row.score), "number"],
    ["response", (row) => row.response, "text"],
    ...(found.rollouts[0]?.prompt == null ? [] : [["prompt", (row) => row.prompt, "text"]]),
  ], found.trial == null ? "This version comes from no trial." : "Its trial kept none (training.keep_rollouts).");
}

async function look() {
  const token = sessionStorage.getItem("token");
  const reply = await ask("v1/monitor");
  const isRefused = reply.status === 401 || reply.status === 403;
  find("login").hidden = !isRefused;
  document.querySelector("main").hidden = !reply.ok;
  if (isRefused) {
    find("refused").textContent = token ? `Refused (${reply.status}): another token is needed.` : "";
    find("status").textContent = "Locked.";
    return;
  }
  if (!reply.ok) throw new Error(`the endpoint answers ${reply.status}`);
  show(await reply.json());
}

async function repeat() {
  try {
    await look();
  } catch (error) {
    find("status").className = "blind";
    find("status").textContent = `No report: ${error.message}. What is below may be old; trying again.`;
  }
  setTimeout(repeat, PERIOD_MS);
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", find("token").value);
  find("token").value = "";
  look().catch(() => {});
});
find("ask-rollouts").addEventListener("click", () => {
  showRollouts().catch((error) => say("rollouts", error.message));
});
window.addEventListener("DOMContentLoaded", repeat);
