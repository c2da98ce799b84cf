"use strict";
// What the page shows in its tables, and how numbers and names are written. `page.js` draws it.

// ---- numbers for people -------------------------------------------------------------------------------------------

function scaled(number) {
  let unit = 0;
  let left = Math.max(number, 0);
  while (left >= 999.5 && unit < 5) {
    left /= 1000;
    unit += 1;
  }
  const digits = left >= 99.95 || (unit === 0 && Number.isInteger(left)) ? 0 : left >= 9.995 || unit === 0 ? 1 : 2;
  return left.toFixed(digits) + ["", "k", "M", "G", "T", "P"][unit];
}

function duration(seconds) {
  if (seconds < 0.0009995) return (seconds * 1e6).toFixed(0) + " µs";
  if (seconds < 0.9995) return (seconds * 1e3).toFixed(seconds < 0.0995 ? 1 : 0) + " ms";
  if (seconds < 59.5) return seconds.toFixed(seconds < 9.95 ? 1 : 0) + " s";
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return minutes + " min";
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function percent(part, all) {
  if (all === 0) return "–";
  const shown = part === all ? 100 : Math.min((part / all) * 100, 99.9);
  // Few are told from none.
  return (shown > 0 && shown < 0.05 ? "< 0.1" : shown.toFixed(1)) + " %";
}

// Control characters and those that reorder text, spelled out.
function clean(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

const sum = (counts) => Object.values(counts).reduce((all, one) => all + one, 0);
const both = (pair) => pair.sent + pair.received;

// ---- tables -------------------------------------------------------------------------------------------------------

const text = (title, value) => ({ title, value, show: (row) => clean(value(row)), kind: "text" });
const number = (title, value, show = scaled) => ({ title, value, show: (row) => show(value(row)), kind: "number" });
// Less than any where there is none.
const maybe = (title, value, show) => ({
  title,
  value: (row) => value(row) ?? -1,
  show: (row) => (value(row) === null ? "–" : show(value(row))),
  kind: "number",
});
const state = (name) => (row) => row.states[name] ?? 0;
const hitRate = (row) => {
  const all = row.cache_hits + row.cache_misses;
  return all === 0 ? null : row.cache_hits / all;
};

// Those that a process answers, or makes if it answers none: both would be counted twice at a proxy.
const recent = (row) => row.requests.server ?? row.requests.client ?? null;
const requests = (of) => [
  maybe("requests/s", (row) => of(row)?.requests_per_second ?? null, scaled),
  maybe("errors", (row) => share(of(row)), (part) => percent(part, 1)),
  maybe("p95", (row) => of(row)?.p95_seconds ?? null, duration),
];
// The part that went wrong; nothing where there were none.
const share = (some) =>
  some === null || some.requests_per_second === 0 ? null : some.errors_per_second / some.requests_per_second;

// A table is its columns, what a filter looks through, which protocols a row speaks, and what is said where there is no
// row. Each has a <table> of its name, and an <output> for how many rows are shown.
const TABLES = {
  processes: {
    columns: [
      text("process", (row) => row.process),
      number("pid", (row) => row.pid, String),
      text("container", (row) => row.container),
      number("connections", (row) => sum(row.connections)),
      ...requests(recent),
      number("active", state("active")),
      number("idle", state("idle")),
      number("in transaction", state("idle_in_transaction")),
      number("waiting", state("waiting")),
      number("blocked", state("blocked")),
      number("sent B/s", (row) => row.bytes_per_second.sent),
      number("received B/s", (row) => row.bytes_per_second.received),
      number("sent msg/s", (row) => row.messages_per_second.sent),
      number("received msg/s", (row) => row.messages_per_second.received),
      number("oversized", (row) => row.oversized),
      maybe("hits", hitRate, (rate) => percent(rate, 1)),
      number("retransmits", (row) => row.retransmits),
    ],
    texts: (row) => [row.process, String(row.pid), row.container],
    speaks: (row, protocol) => (row.connections[protocol] ?? 0) > 0,
    none: "nothing is open",
  },
  flows: {
    columns: [
      text("process", (row) => row.process),
      number("pid", (row) => row.pid, String),
      text("container", (row) => row.container),
      text("protocol", (row) => row.protocol),
      text("role", (row) => row.role),
      text("local", (row) => row.local),
      text("remote", (row) => row.remote),
      number("sent B/s", (row) => row.bytes_per_second.sent),
      number("received B/s", (row) => row.bytes_per_second.received),
      number("sent msg/s", (row) => row.messages_per_second.sent),
      number("received msg/s", (row) => row.messages_per_second.received),
      number("sent", (row) => row.bytes.sent),
      number("received", (row) => row.bytes.received),
      maybe("requests", (row) => row.http?.requests ?? null, scaled),
      maybe("waiting", (row) => row.http?.current?.seconds ?? null, duration),
      number("age", (row) => row.age_seconds, duration),
      maybe("RTT", (row) => row.rtt_seconds ?? null, duration),
      number("retransmits", (row) => row.retransmits),
    ],
    texts: (row) => [row.process, String(row.pid), row.container, row.protocol, row.local, row.remote],
    speaks: (row, protocol) => row.protocol === protocol,
    none: "nothing is open",
  },
  routes: {
    columns: [
      text("process", (row) => row.process),
      text("container", (row) => row.container),
      text("role", (row) => row.role),
      text("to", (row) => row.authority || row.server),
      text("method", (row) => row.method),
      text("route", (row) => row.route),
      ...requests((row) => row),
      number("requests", (row) => row.requests),
      number("errors in all", (row) => row.errors),
    ],
    texts: (row) => [row.process, row.container, row.role, row.server, row.authority, row.method, row.route],
    speaks: (row, protocol) => protocol === "http",
    none: "no request of HTTP has been answered yet",
  },
  queues: {
    columns: [
      text("process", (row) => row.process),
      text("container", (row) => row.container),
      text("role", (row) => row.role),
      text("server", (row) => row.server),
      text("system", (row) => row.system),
      text("queue", (row) => row.queue),
      text("group", (row) => row.group),
      maybe("waiting", (row) => row.messages, scaled),
      // There is no oldest one of none.
      maybe("oldest", (row) => (row.messages ? row.oldest_seconds : null), duration),
      maybe("put/s", (row) => row.put_per_second, scaled),
      maybe("taken/s", (row) => row.taken_per_second, scaled),
      maybe("acknowledged/s", (row) => row.acknowledged_per_second, scaled),
      maybe("mean age", (row) => row.mean_age_seconds, duration),
      maybe("p95 age", (row) => row.p95_age_seconds, duration),
    ],
    texts: (row) => [row.process, row.container, row.role, row.server, row.system, row.queue, row.group],
    speaks: (row, protocol) => row.system.split("_")[0] === protocol,
    none: "no message queue has been seen yet",
  },
};
