// The data, and what the reader chose; the choice lives in the address after "#", so that every view is a link.
const SMALLER = Number(document.body.dataset.smaller);
const LIVE = document.body.dataset.live === "yes";
let DATA = null;
let STRIPS = null;
const BY_KEY = new Map();

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function accept(data) {
  DATA = { ...data, status: data.status || DATA?.status };
  BY_KEY.clear();
  for (const run of data.runs) {
    run.key = String(run.row.key);
    run.odd = run.row.not_finite || {}; // numbers that JSON lacks: null, and what they are in words
    delete run.row.not_finite;
    for (const [key, word] of Object.entries(run.odd)) if (typeof word === "string") run.row[key] = word;
    run.flags = run.row.flags; // {kind, subject, text, remedy}
    run.defenses = defensesOf(run);
    run.words = [run.row.chain, run.key, ...FACETS_OF(run), ...run.attacks, ...(run.row.tags || []), run.row.note || "", ...flagLines(run)].join(" ").toLowerCase();
    BY_KEY.set(run.key, run);
  }
}

const flagLines = (run) => run.flags.map((flag) => flag.text);
const defensesOf = (run) => (run.row.chain === "none" ? ["none"] : String(run.row.chain).split("+"));
const FACETS_OF = (run) => Object.keys(run.row).filter((k) => isGroup(k, run.row[k])).map((k) => String(run.row[k]));
const NO_GROUP = new Set(["key", "ceiling", "victims", "commit", "chain", "headline", "way", "note"]);
const isGroup = (key, value) => !/[./]/.test(key) && !NO_GROUP.has(key) && (value === null || typeof value !== "object");

/** The value of a column of a run: of its row, or one that the page adds. */
function entry(run, key) {
  if (key === "finished") return run.finished;
  if (key === "attacks") return run.attacks.join(", ");
  if (key === "flags") return flagLines(run);
  if (key === "protocol.queries" && !run.row.study) return run.row[key] ?? 1; // rows of before do not say it
  return run.row[key];
}

const urls = new Map();
/** The address of a strip of pictures; those in the page are decoded when first shown. */
function stripUrl(name) {
  if (!urls.has(name)) {
    if (LIVE) urls.set(name, `/strip/${name}.webp`);
    else {
      STRIPS ??= JSON.parse(document.getElementById("strips").textContent);
      if (!STRIPS[name]) return null;
      const bytes = Uint8Array.from(atob(STRIPS[name]), (c) => c.charCodeAt(0));
      urls.set(name, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
    }
  }
  return urls.get(name);
}

// ---- the reader's choice ----

const PAGES = ["overview", "runs", "compare", "run", "tables", "status"];
const fresh = () => ({ page: "overview", key: "", q: "", filters: {}, brushed: [], tray: [], view: {} });
let choice = fresh();
const listeners = new Set();

/** "#/runs?q=noise&f.dataset=cifar10": filters begin with "f.", what a page remembers of itself with "v.". */
function readHash(text) {
  const out = fresh();
  const [path, query = ""] = text.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [page, key = ""] = path.split("/");
  if (PAGES.includes(page)) out.page = page;
  out.key = decodeSafe(key);
  const whole = (list) => unique(list.map((part) => DATA.runs.find((run) => part && run.key.startsWith(part))?.key).filter(Boolean));
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === "q") out.q = value;
    else if (name === "brushed") out.brushed = whole(value.split("."));
    else if (name === "tray") out.tray = whole(value.split(".")).slice(0, MAX_COMPARED);
    else if (name.startsWith("f.")) (out.filters[name.slice(2)] ??= []).push(value);
    else if (name.startsWith("v.")) out.view[name.slice(2)] = value;
  }
  return out;
}

function decodeSafe(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function writeHash(c) {
  const query = new URLSearchParams();
  if (c.q) query.append("q", c.q);
  for (const [name, values] of Object.entries(c.filters)) for (const value of values) query.append(`f.${name}`, value);
  if (c.tray.length) query.append("tray", c.tray.map(short).join("."));
  if (c.brushed.length) query.append("brushed", c.brushed.map(short).join("."));
  for (const [name, value] of Object.entries(c.view)) if (value !== "" && value !== undefined) query.append(`v.${name}`, value);
  const path = c.key && c.page === "run" ? `${c.page}/${encodeURIComponent(c.key)}` : c.page;
  return `#/${path}${String(query) ? `?${query}` : ""}`;
}

/** The shortest beginning of a key, of six characters or more, that no other run shares. */
function short(key) {
  for (let n = 6; n < key.length; n++) if (DATA.runs.filter((run) => run.key.startsWith(key.slice(0, n))).length < 2) return key.slice(0, n);
  return key;
}

/** Change the choice. A new page is a step of the browser's history, anything else is not. */
function choose(change, step = false) {
  const before = choice.page + choice.key;
  choice = { ...choice, ...change };
  const hash = writeHash(choice);
  if (hash !== location.hash) history[step || choice.page + choice.key !== before ? "pushState" : "replaceState"](null, "", hash);
  listeners.forEach((tell) => tell());
}

const remember = (name, value) => choose({ view: { ...choice.view, [name]: value } });
const linkTo = (page, key = "") => writeHash({ ...choice, page, key });
const go = (page, key = "") => choose({ page, key }, true);
const toggle = (list, item) => (list.includes(item) ? list.filter((i) => i !== item) : [...list, item]);

function tray(key) {
  if (!choice.tray.includes(key) && choice.tray.length >= MAX_COMPARED) return announce(`At most ${MAX_COMPARED} runs can be compared; take one out first.`);
  choose({ tray: toggle(choice.tray, key) });
}

function announce(text) {
  document.getElementById("said").textContent = text;
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.classList.add("on");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => toast.classList.remove("on"), 3500);
}

const remembered = {
  get(key) {
    try {
      return localStorage.getItem(`splitpriv.${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`splitpriv.${key}`, value);
    } catch {
      // a browser that keeps nothing for files
    }
  },
};
