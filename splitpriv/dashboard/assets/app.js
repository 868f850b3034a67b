// The frame around the pages: navigation, theme, keys, the comparison's tray, and live refresh.

const TITLES = { overview: "Overview", runs: "Runs", compare: "Compare", run: "One run", tables: "Tables", status: "Status" };
const VIEWS = { overview: Overview, runs: RunList, compare: Compare, run: RunPage, tables: Tables, status: Status };

let focusNext = "main"; // where the focus goes with the next page

/** The runs to compare, each with a way to take it out. */
function Tray() {
  const runs = choice.tray.map((key) => BY_KEY.get(key)).filter(Boolean);
  const names = tellApart(runs);
  return html`<span class="chip">To compare: ${runs.map((run, i) => html`<span key=${run.key} class="taken">${names[i]} <button class="quiet" aria-label=${`take ${names[i]} out`} onClick=${() => tray(run.key)}>×</button></span>`)}
    ${runs.length > 1 ? html`<a class="button" href=${linkTo("compare")}>Compare ${runs.length}</a>` : html`<span class="faint small">one more at least</span>`} <button class="quiet" onClick=${() => choose({ tray: [] })}>clear</button></span>`;
}

function App() {
  const [, draw] = useState(0);
  const [help, setHelp] = useState(false);
  useEffect(() => {
    const tell = () => draw((n) => n + 1);
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, []);
  useEffect(() => {
    const press = (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.target.matches?.("input:not([type=checkbox]):not([type=radio]),select,textarea")) return e.key === "Escape" && e.target.blur();
      if (document.querySelector("dialog[open]")) return;
      const page = PAGES[Number(e.key) - 1];
      if (page) go(page, page === "run" ? choice.key : "");
      else if (e.key === "/") { e.preventDefault(); const box = document.getElementById("search"); if (box) { for (const d of [box.closest("details")]) if (d) d.open = true; box.focus(); } else { focusNext = "search"; go("runs"); } }
      else if (e.key === "?") setHelp(true);
      else if (e.key === "t") setTheme(isDark() ? "light" : "dark");
      else if (e.key === "c") go("compare");
      else if (e.key === "Escape" && choice.brushed.length) choose({ brushed: [] });
      else if (choice.page === "run" && (e.key === "j" || e.key === "k")) {
        const runs = pool();
        const next = runs[runs.findIndex((r) => r.key === choice.key) + (e.key === "j" ? 1 : -1)];
        if (next) go("run", next.key);
      }
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  const View = VIEWS[choice.page];
  const first = useRef(true);
  useEffect(() => {
    document.title = `${TITLES[choice.page]} · splitpriv`;
    if (!first.current) { window.scrollTo(0, 0); document.getElementById(focusNext).focus({ preventScroll: true }); }
    focusNext = "main";
    first.current = false;
  }, [choice.page, choice.key]);
  return html`<a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>Skip to the page</a>
    <header><a class="brand" href=${linkTo("overview")}>splitpriv</a>
      <nav aria-label="pages">${PAGES.map((page, i) => html`<a key=${page} href=${linkTo(page, page === "run" ? choice.key : "")} aria-current=${page === choice.page ? "page" : undefined} title=${`key ${i + 1}`}>${TITLES[page]}${badge(page)}</a>`)}</nav>
      <span class="row end">${LIVE ? html`<span id="live" class="small" role="status">live</span>` : ""}
        <button class="quiet" title="theme (t)" aria-label="dark or light" onClick=${() => setTheme(isDark() ? "light" : "dark")}>${isDark() ? "☀" : "☾"}</button><button class="quiet" title="keys (?)" aria-label="keyboard shortcuts" onClick=${() => setHelp(true)}>?</button></span></header>
    ${choice.brushed.length || choice.tray.length ? html`<div class="strip" role="region" aria-label="chosen runs">
      ${choice.brushed.length ? html`<span class="chip">Brushed: <b>${plural(choice.brushed.length, "run")}</b>, and only these are shown <button class="quiet" onClick=${() => choose({ brushed: [] })} title="Escape">show all</button></span>` : ""}
      ${choice.tray.length ? html`<${Tray} />` : ""}</div>` : ""}
    <main id="main" tabindex="-1">${DATA.runs.length || ["tables", "status"].includes(choice.page) ? html`<${View} />` : html`<p class="empty">No run is finished yet. <a href=${linkTo("status")}>Status</a> shows what is being built.</p>`}</main>
    <footer class="faint small">splitpriv ${DATA.version} · ${plural(DATA.runs.length, "run")} of ${DATA.store} · ${when(DATA.made)}${DATA.left_out.length ? html` · <a href=${linkTo("status")}>${plural(DATA.left_out.length, "file")} left out</a>` : ""}${SMALLER ? ` · ${plural(SMALLER, "strip")} of pictures made smaller to keep this file small; --serve shows all at full size` : ""}</footer>
    ${help ? html`<${Help} close=${() => setHelp(false)} />` : ""}`;
}

function badge(page) {
  const n = { runs: pool().length, compare: choice.tray.length, tables: DATA.tables.length, status: DATA.status.failed.length }[page];
  const bad = page === "status";
  return n ? html`<span class=${`badge ${bad ? "bad" : ""}`}>${n}${bad ? html`<span class="sr"> failed</span>` : ""}</span>` : "";
}

function Help({ close }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  const keys = [["1 … 6", "the pages"], ["/", "search"], ["j, k", "next and previous run"], ["Enter", "open the run"], ["x", "put the run into the comparison"], ["c", "compare"], ["Escape", "show all runs again"], ["t", "dark or light"]];
  return html`<dialog ref=${dialog} onClose=${close} aria-label="Keyboard shortcuts"><div class="row between"><h2>Keys</h2><button onClick=${() => dialog.current.close()}>Close</button></div>
    <dl class="pairs">${keys.map(([key, text]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${text}</dd>`)}</dl>
    <p class="small faint">The search takes words and comparisons of any entry by the end of its name: <code>cem dataset=mnist accuracy>70% sigma${"<"}=0.05 flags=0 -flags:converged</code>. The address holds the whole view: copy it to share it.</p></dialog>`;
}

function setTheme(theme, keep = true) {
  document.documentElement.dataset.theme = theme;
  if (keep) remembered.set("theme", theme);
  listeners.forEach((tell) => tell());
}

// ---- print ----

const PAPER = 1040; // pixels of a page's width, A4 on its side with its margins

/** On paper everything is unfolded, light, and as wide as the page. */
function printed(on) {
  document.documentElement.classList.toggle("printing", on);
  if (on) for (const d of document.querySelectorAll("main details:not([open])")) { d.open = true; d.dataset.folded = "yes"; }
  else for (const d of document.querySelectorAll("details[data-folded]")) { d.open = false; delete d.dataset.folded; }
  const theme = document.documentElement.dataset.theme;
  if (on) { document.documentElement.dataset.theme = "light"; document.documentElement.dataset.screen = theme; }
  else document.documentElement.dataset.theme = document.documentElement.dataset.screen || theme;
  for (const node of document.querySelectorAll(".plot.js-plotly-plot")) {
    const colours = { "font.color": css("--ink"), "xaxis.gridcolor": css("--grid"), "yaxis.gridcolor": css("--grid") };
    Plotly.relayout(node, { ...colours, width: on ? Math.min(PAPER, node.parentElement.clientWidth) : undefined, autosize: !on });
  }
}

// ---- live refresh ----

const tags = {};

/** What the server has at a path, or null where that is what we have already. */
async function ask(path) {
  const answer = await fetch(path, { headers: tags[path] ? { "If-None-Match": tags[path] } : {}, cache: "no-store" });
  if (answer.status === 304) return null;
  const found = await answer.json();
  if (answer.status !== 200) throw new Error(found.error || `error ${answer.status}`);
  tags[path] = answer.headers.get("ETag") || "";
  return found;
}

async function refresh() {
  const tell = (text, bad = false) => {
    const node = document.getElementById("live");
    if (node) { node.textContent = text; node.classList.toggle("bad", bad); }
  };
  try {
    const [data, state] = await Promise.all([ask("/data.json"), ask("/status.json")]);
    if (data) {
      accept(data);
      choice = { ...choice, brushed: choice.brushed.filter((k) => BY_KEY.has(k)), tray: choice.tray.filter((k) => BY_KEY.has(k)) };
    }
    if (state) DATA = { ...DATA, ...state };
    if (data || state) listeners.forEach((f) => f());
    tell("● live");
  } catch (error) {
    for (const path of Object.keys(tags)) delete tags[path]; // what was sent beside it is lost
    tell(error instanceof TypeError ? "○ the server has ended" : error.message, true);
  }
}

async function begin() {
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  setTheme(remembered.get("theme") || (prefers.matches ? "dark" : "light"), false);
  prefers.addEventListener("change", () => remembered.get("theme") || setTheme(prefers.matches ? "dark" : "light", false));
  const app = document.getElementById("app");
  for (const id of ["said", "toast"]) {
    const node = document.createElement("div");
    node.id = id;
    if (id === "said") node.setAttribute("aria-live", "polite");
    document.body.append(node);
  }
  try {
    if (LIVE) {
      await refresh();
      if (!DATA) throw new Error("the server sent no data");
    } else accept(await unpack(document.getElementById("data").textContent));
  } catch (error) {
    app.firstElementChild.textContent = `The runs cannot be read: ${error.message}. A browser from 2023 or later is needed.`;
    return;
  }
  choice = readHash(location.hash);
  app.textContent = "";
  render(html`<${App} />`, app);
  addEventListener("beforeprint", () => printed(true));
  addEventListener("afterprint", () => printed(false));
  addEventListener("hashchange", () => { choice = readHash(location.hash); listeners.forEach((f) => f()); });
  addEventListener("popstate", () => { choice = readHash(location.hash); listeners.forEach((f) => f()); });
  document.body.dataset.ready = "yes";
  document.body.dataset.took = Math.round(performance.now());
  if (LIVE) setInterval(() => document.hidden || refresh(), 3000);
}

begin();
