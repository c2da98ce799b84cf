"use strict";
// Asks the agent's own endpoints every two seconds and draws what they say. Everything that came from them is set
// as text, never as HTML: names of processes and paths of sockets are chosen by strangers.

const EVERY = 2000;
// Five minutes are kept, and a chart begins with one.
const KEPT = 150;
const FIRST = 30;
// Rows asked for: a filter looks through as many.
const ASKED = 1000;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

// ---- tables -------------------------------------------------------------------------------------------------------

// A heading for each column; a button in it sorts by it, and again the other way round.
function makeHead(name) {
  const table = TABLES[name];
  table.sort = null;
  const line = document.createElement("tr");
  table.heads = table.columns.map((column) => {
    const head = document.createElement("th");
    head.scope = "col";
    head.className = `${column.kind} ${column.title === "container" ? "container" : ""}`;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    button.addEventListener("click", () => {
      const down = table.sort?.column === column ? !table.sort.down : column.kind === "number";
      table.sort = { column, down };
      for (const [at, other] of table.columns.entries()) {
        if (other === column) table.heads[at].setAttribute("aria-sort", down ? "descending" : "ascending");
        else table.heads[at].removeAttribute("aria-sort");
      }
      draw();
    });
    head.append(button);
    line.append(head);
    return head;
  });
  byId(name).tHead.append(line);
}

function compare(one, other) {
  if (typeof one === "number") return one - other;
  return one < other ? -1 : one > other ? 1 : 0;
}

// The rows that are wanted, in order. Equals stay in the agent's order, the busiest first, or those where
// most waits.
function wanted(name, rows) {
  const table = TABLES[name];
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const protocol = byId("protocol").value;
  const matches = (row) => {
    const texts = table.texts(row).map((one) => one.toLowerCase());
    return (
      words.every((word) => texts.some((one) => one.includes(word))) &&
      (protocol === "" || table.speaks(row, protocol))
    );
  };
  const kept = rows.filter(matches);
  if (table.sort !== null) {
    const { column, down } = table.sort;
    kept.sort((one, other) => compare(column.value(one), column.value(other)) * (down ? -1 : 1));
  }
  return kept;
}

// Cells are reused, so that a selection or a pointer over one stays.
function cellsOf(line, count) {
  while (line.cells.length > count) line.deleteCell(-1);
  while (line.cells.length < count) line.insertCell();
  return [...line.cells];
}

function drawTable(name, rows) {
  const { columns, none } = TABLES[name];
  const body = byId(name).tBodies[0];
  // A host without containers needs no column of them.
  byId(name).classList.toggle("bare", rows.every((row) => row.container === ""));
  const kept = wanted(name, rows);
  const shown = kept.slice(0, Number(byId("limit").value));
  while (body.rows.length > Math.max(shown.length, 1)) body.deleteRow(-1);
  while (body.rows.length < Math.max(shown.length, 1)) body.insertRow();
  if (shown.length === 0) {
    const [cell] = cellsOf(body.rows[0], 1);
    cell.colSpan = columns.length;
    cell.className = "none";
    cell.textContent = rows.length === 0 ? none : "nothing matches";
  }
  for (const [at, row] of shown.entries()) {
    const cells = cellsOf(body.rows[at], columns.length);
    for (const [place, column] of columns.entries()) {
      const cell = cells[place];
      const value = column.show(row);
      cell.removeAttribute("colspan");
      cell.className = value === "0" || value === "–" ? `${column.kind} zero` : column.kind;
      if (column.title === "container") cell.classList.add("container");
      if (cell.textContent !== value) cell.textContent = value;
      if (column.kind === "text") cell.title = value;
    }
  }
  byId(`${name}-count`).value = `${shown.length} of ${kept.length}`;
}

// ---- charts -------------------------------------------------------------------------------------------------------

const past = { messages: [], bytes: [] };

function drawLine(name) {
  const samples = past[name];
  const chart = byId(`${name}-chart`);
  const [area, line] = chart.querySelectorAll("path");
  const greatest = Math.max(...samples, 0);
  const span = Math.max(samples.length, FIRST);
  const x = (at) => ((span - samples.length + at) / (span - 1)) * 300;
  const y = (sample) => 78 - (greatest > 0 ? sample / greatest : 0) * 74;
  const points = samples.map((sample, at) => `${x(at).toFixed(1)} ${y(sample).toFixed(1)}`);
  line.setAttribute("d", points.length > 0 ? `M${points.join("L")}` : "");
  area.setAttribute("d", points.length > 0 ? `M${x(0).toFixed(1)} 80L${points.join("L")}L300 80Z` : "");
  byId(`${name}-span`).value = `${duration((span * EVERY) / 1000)}, at most ${scaled(greatest)}`;
  chart.setAttribute("aria-label", `${name} a second: now ${scaled(samples.at(-1) ?? 0)}, at most ${scaled(greatest)}`);
}

// A table of labels, bars and counts.
function drawBars(id, entries) {
  const body = byId(id).tBodies[0];
  const all = entries.reduce((total, [, count]) => total + count, 0);
  while (body.rows.length > entries.length) body.deleteRow(-1);
  while (body.rows.length < entries.length) {
    const line = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    const bar = document.createElementNS(SVG, "svg");
    bar.setAttribute("viewBox", "0 0 100 10");
    bar.setAttribute("preserveAspectRatio", "none");
    bar.setAttribute("aria-hidden", "true");
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("height", "10");
    bar.append(rect);
    line.append(head);
    line.insertCell().append(bar);
    line.insertCell().className = "number";
  }
  for (const [at, [name, count]] of entries.entries()) {
    const [head, bar, value] = body.rows[at].cells;
    head.textContent = clean(name);
    // Little is told from nothing.
    const width = count === 0 ? 0 : Math.max((count / all) * 100, 0.7);
    bar.querySelector("rect").setAttribute("width", width.toFixed(2));
    value.textContent = scaled(count);
    value.title = String(count);
  }
}

const sizeLabel = (bucket, at, all) =>
  bucket.le === null ? `> ${scaled(all[at - 1]?.le ?? 0)}B` : `≤ ${scaled(bucket.le)}B`;

// ---- what was last heard ------------------------------------------------------------------------------------------

let overview = null;
let flows = [];
let routes = [];
let queues = [];
let status = null;

function setNumber(id, value, warn = false) {
  byId(id).textContent = value;
  byId(id).className = warn ? "warn" : "";
}

function draw() {
  if (overview === null) return;
  const { processes } = overview;
  const total = (value) => processes.reduce((all, row) => all + value(row), 0);
  const hits = total((row) => row.cache_hits);
  const oversized = total((row) => row.oversized);
  setNumber("connections", scaled(sum(overview.connections)));
  setNumber("messages", scaled(overview.messages_per_second));
  setNumber("bytes", scaled(total((row) => both(row.bytes_per_second))));
  const served = (value) => total((row) => (row.requests.server === undefined ? 0 : value(row.requests.server)));
  const all = served((some) => some.requests_per_second);
  const failed = served((some) => some.errors_per_second);
  setNumber("requests", scaled(all));
  setNumber("errors", percent(failed, all), failed > 0);
  setNumber("active", `${scaled(total(state("active")))} of ${scaled(total((row) => sum(row.states)))}`);
  setNumber("oversized", scaled(oversized), oversized > 0);
  setNumber("hits", percent(hits, hits + total((row) => row.cache_misses)));
  byId("version").textContent = overview.version;
  byId("tls-hint").textContent = overview.tls_hint ?? "";
  byId("tls-hint").hidden = overview.tls_hint === null;
  drawLine("messages");
  drawLine("bytes");
  drawBars("sizes", overview.message_sizes.map((bucket, at, all) => [sizeLabel(bucket, at, all), bucket.count]));
  const protocols = Object.entries(overview.connections);
  protocols.sort(([, one], [, other]) => other - one);
  drawBars("protocols", protocols);
  offer(protocols.map(([protocol]) => protocol).sort());
  drawTable("processes", processes);
  drawTable("flows", flows);
  drawTable("routes", routes);
  drawTable("queues", queues);
  drawProbes();
}

// The protocols to choose from; the chosen one stays, though none speaks it now.
function offer(protocols) {
  const select = byId("protocol");
  const known = new Set([...select.options].map((option) => option.value));
  for (const protocol of protocols.filter((one) => !known.has(one))) {
    const option = document.createElement("option");
    option.value = protocol;
    option.textContent = clean(protocol);
    select.append(option);
  }
}

function drawProbes() {
  if (status === null) return;
  const body = byId("probes").tBodies[0];
  while (body.rows.length > status.probes.length) body.deleteRow(-1);
  while (body.rows.length < status.probes.length) body.insertRow();
  for (const [at, probe] of status.probes.entries()) {
    const [state, name, what] = cellsOf(body.rows[at], 3);
    state.textContent = probe.state;
    state.className = probe.state === "up" ? "good" : "bad";
    name.textContent = probe.name;
    what.textContent = probe.reason === null ? probe.gives : clean(`no ${probe.gives}: ${probe.reason}`);
  }
  const unparsed = sum(status.unparsed_bytes);
  byId("losses").textContent =
    `${status.tracked_connections} connections tracked, ${status.untracked_connections} not for want of room; ` +
    `${status.events_lost} events lost; ${scaled(unparsed)}B counted but not readable; ` +
    `running for ${duration(status.uptime_seconds)}.`;
}

// ---- asking -------------------------------------------------------------------------------------------------------

let paused = false;

async function ask(path) {
  // Whatever the browser was let in with goes along: credentials of the page's own origin.
  const answer = await fetch(path, { cache: "no-store", credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

function say(words, kind) {
  byId("state").textContent = words;
  byId("state").className = kind;
}

async function refresh() {
  const [processes, open, answered, waiting, now] = await Promise.all([
    ask(`processes?limit=${ASKED}`),
    ask(`flows?limit=${ASKED}`),
    ask(`routes?limit=${ASKED}`),
    ask(`queues?limit=${ASKED}`),
    ask("status"),
  ]);
  // What was on its way when the button was pressed is not shown.
  if (paused) return;
  overview = processes;
  flows = open.flows;
  routes = answered.routes;
  queues = waiting.queues;
  status = now;
  const push = (samples, sample) => {
    samples.push(sample);
    if (samples.length > KEPT) samples.shift();
  };
  push(past.messages, overview.messages_per_second);
  push(past.bytes, overview.processes.reduce((all, row) => all + both(row.bytes_per_second), 0));
  draw();
  const down = status.probes.filter((probe) => probe.state !== "up").length;
  say(down === 0 ? "live" : `live, but ${down} of ${status.probes.length} probes are down`, down === 0 ? "good" : "bad");
}

async function turn() {
  // A page that nobody sees asks nothing.
  if (!paused && !document.hidden) {
    try {
      await refresh();
    } catch (error) {
      say(`no answer: ${error.message}; trying again`, "bad");
    }
  }
  setTimeout(turn, EVERY);
}

Object.keys(TABLES).forEach(makeHead);
for (const id of ["filter", "protocol", "limit"]) byId(id).addEventListener("input", draw);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").textContent = paused ? "Go on" : "Pause";
  byId("pause").setAttribute("aria-pressed", String(paused));
  if (paused) say("paused", "warn");
});
turn();
