// Names used everywhere: the view library, numbers for people, and what is known of metrics.
const { html, render, Component, useState, useEffect, useRef, useMemo } = htmPreact;

const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "triangle-down"];
const MAX_COMPARED = 6;

const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
const unique = (list) => [...new Set(list)];
const byText = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;
const sum = (list) => list.reduce((a, b) => a + b, 0);
const mean = (list) => (list.length ? sum(list) / list.length : NaN);
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

const UNKNOWN = { label: "", digits: "4", arrow: "" };
const ATTACKED = ["privacy", "ceiling", "floor", "clean"];

/** What is known of a numeric entry of a row: its label, its digits, the arrow of its better direction, its kind. */
function metricOf(key) {
  const parts = key.split("/");
  const group = DATA.facts.metrics[parts[0]];
  if (parts.length < 2 || !group) return { ...UNKNOWN, label: key, digits: "", kind: "other", name: key };
  const name = parts.at(-1);
  const kind = ATTACKED.includes(parts[0]) ? "privacy" : parts[0];
  return { ...UNKNOWN, label: name, ...group[name], kind, who: parts[1], name };
}

const WHO = { suite: "suite", worst: "worst case (oracle)", mean_image: "mean image", random_image: "random image", prior: "commonest value" };
const whoLabel = (who) => WHO[who] || (who.startsWith("clean/") ? `${who.slice(6)} of clean x` : who);

/** Why the privacy of these runs cannot be compared, in sentences; empty where it can. */
function unlike(runs) {
  const attacked = runs.filter((run) => run.row["privacy/worst/mse"] !== undefined);
  const all = (key) => unique(attacked.map((run) => run.world[key]));
  const [suites, queries, old] = [all("suite").map((suite) => suite || "none"), all("protocol.queries"), all("older")];
  return [suites.length > 1 ? `These runs are of unlike suites (${suites.join("; ")}): neither their answers nor their worst cases can be compared.`
    : all("attacks").length > 1 ? "The worst cases are over unlike attacks: each attack more lowers them, so they cannot be compared." : "",
    queries.length > 1 ? `Images were released unlike often (${queries.join("; ")} queries): who sees more releases rebuilds better.` : "",
    old.length > 1 ? `Some were made by older versions of a link (${old.filter(Boolean).join("; ")}): none of their numbers can be compared.` : ""].filter(Boolean).join(" ");
}

/** A column's heading, such as "MSE ↑ worst case". */
function labelOf(key, arrows = true) {
  const m = metricOf(key);
  const head = m.label + (arrows && m.arrow ? ` ${m.arrow}` : "");
  if (m.kind === "privacy") {
    const what = key.startsWith("floor/") ? ", floor" : key.startsWith("ceiling/") ? ", undefended" : key.startsWith("clean/") ? " of clean x" : "";
    return `${head} · ${whoLabel(m.who)}${what}`;
  }
  return m.kind === "other" ? key : head;
}

/** A number as its metric is written; text as it is; nothing as a dash. */
/** Whether the window is a telephone's. */
const isNarrow = () => matchMedia("(max-width: 720px)").matches;

function show(value, key = "") {
  if (value === null || value === undefined) return value === null ? "null" : "–";
  if (!isNumber(value)) return Array.isArray(value) ? value.map((v) => show(v)).join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);
  const { digits } = key ? metricOf(key) : { digits: "" };
  if (digits === "%") return `${(100 * value).toFixed(2)} %`;
  if (digits === "0") return value.toLocaleString("en", { maximumFractionDigits: 0 });
  if (digits !== "") return value.toFixed(Number(digits));
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}

/** A difference with its sign, and in percent of the first where that says something. */
function difference(value, base, key) {
  const d = value - base;
  const { digits } = metricOf(key);
  if (d === 0) return "the same";
  const sign = d > 0 ? "+" : "−";
  if (digits === "%") return `${sign}${Math.abs(100 * d).toFixed(2)} points`;
  const share = base ? ` (${sign}${Math.abs((100 * d) / base).toFixed(0)} %)` : "";
  return `${sign}${show(Math.abs(d), key)}${share}`;
}

/** +1 where `value` is better than `base` for whoever runs the device, -1 where it is worse, else 0. */
function gain(value, base, key) {
  const { arrow } = metricOf(key);
  return arrow === "" || value === base ? 0 : (value > base) === (arrow === "↑") ? 1 : -1;
}

/** Plotly reads a few tags in its texts; text out of a row has none. */
const inert = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function when(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? iso : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

function download(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Rows as CSV (RFC 4180). A cell that a spreadsheet would run as a formula gets an apostrophe. */
function toCsv(columns, runs) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : Array.isArray(value) ? value.map(String).join("; ") : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [columns.map(cell).join(","), ...runs.map((run) => columns.map((c) => cell(entry(run, c))).join(","))].join("\r\n") + "\r\n";
}
