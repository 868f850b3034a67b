// The run list: sort, search, choose columns, export.

const USUAL = ["chain", "study", "way", "dataset", "backbone", "cut", "optim", "protocol", "protocol.queries", "seed"];

/** Every column that a run of these has, in a useful order. */
function columnsOf(runs) {
  const keys = unique(runs.flatMap((run) => Object.keys(run.row)));
  const head = ["chain", "key", "attacks", "flags", "finished"];
  return [...head, ...keys.filter((k) => !head.includes(k) && !/^(picture|scores)\//.test(k))];
}

/** The columns to begin with: groups in which the runs differ, accuracy, suite and worst case, floor and ceiling. */
function usualColumns(runs) {
  const differ = USUAL.filter((k) => k === "chain" || unique(runs.map((run) => entry(run, k))).length > 1);
  const present = (key) => runs.some((run) => isNumber(run.row[key]));
  const reached = (who, metrics) => metrics.map((m) => `privacy/${who}/${m}`).filter(present);
  const metrics = ["mse", "psnr", "ssim", "ms_ssim", "lpips", "told", "feature_distance"];
  const suite = reached("suite", metrics);
  const worst = reached("worst", suite.length ? ["mse"] : metrics); // an oracle, beside the answer
  const other = unique(runs.flatMap((run) => Object.keys(run.row).filter((k) => /^privacy\/[^/]+\/(advantage|auc|rank1)$/.test(k) && !/^privacy\/(suite|worst)/.test(k)))).slice(0, 3);
  const headlines = unique(runs.map((run) => `utility/${run.row.headline || "accuracy"}`)).filter(present);
  const studied = unique(runs.flatMap((run) => (run.row.study ? Object.keys(run.row).filter((k) => /^privacy\/[^/]+\/accuracy$/.test(k)) : [])));
  return [...differ, ...headlines, ...suite, ...worst, ...other, ...studied, ...[suite.length ? "ceiling/suite/mse" : "ceiling/worst/mse", "floor/mean_image/mse", "floor/prior/accuracy"].filter(present), ...(runs.some((run) => run.row.tags) ? ["tags"] : []), "flags", "key"];
}

function chosenColumns() {
  const all = new Set(columnsOf(DATA.runs));
  const asked = (choice.view.columns || "").split("|").filter((c) => all.has(c));
  const runs = pool();
  return asked.length ? asked : usualColumns(runs.length ? runs : DATA.runs);
}

function compareValues(a, b) {
  const blank = (v) => v === undefined || v === null || v === "";
  if (blank(a) || blank(b)) return blank(a) - blank(b);
  if (Array.isArray(a) && Array.isArray(b)) return a.length - b.length;
  return isNumber(a) && isNumber(b) ? a - b : byText(String(a), String(b));
}

function sorted(runs) {
  const text = choice.view.sort || "";
  const [key, back] = text.startsWith("-") ? [text.slice(1), -1] : [text, 1];
  if (!key) return runs;
  const blank = (v) => v === undefined || v === null || v === "";
  return [...runs].sort((a, b) => {
    const [u, v] = [entry(a, key), entry(b, key)];
    return blank(u) || blank(v) ? compareValues(u, v) : back * compareValues(u, v);
  });
}

/** A column's heading: short, with the arrow of its metric. */
const heading = (key) => (/^(privacy|ceiling|floor|clean|utility|cost)\//.test(key) ? labelOf(key) : key);
const Heading = ({ of }) => heading(of).split(" · ").map((part, i) => (i ? html`<br /><small>${part}</small>` : html`<span class="keep">${part}</span>`));

function RunList() {
  const runs = sorted(pool());
  const columns = chosenColumns();
  const [picking, setPicking] = useState(false);
  const [at, setAt] = useState(-1);
  const here = useRef(-1); // keys come faster than drawings
  const body = useRef(null);
  const sort = choice.view.sort || "";
  const order = (key) => (sort === key ? "ascending" : sort === `-${key}` ? "descending" : "none");
  const first = (key) => (metricOf(key).arrow === "↑" ? `-${key}` : key);
  const click = (key) => remember("sort", sort === first(key) ? (first(key) === key ? `-${key}` : key) : sort === "" || !sort.endsWith(key) ? first(key) : "");
  useEffect(() => {
    const move = (e) => {
      if (e.target.matches?.("input:not([type=checkbox]),select,textarea,dialog *") || e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === "j" || e.key === "k") setAt((here.current = Math.max(0, Math.min(runs.length - 1, here.current + (e.key === "j" ? 1 : -1)))));
      else if (e.key === "Enter" && runs[here.current] && !e.target.closest?.("a,button,summary,input")) go("run", runs[here.current].key);
      else if (e.key === "x" && runs[here.current]) tray(runs[here.current].key);
    };
    document.addEventListener("keydown", move);
    return () => document.removeEventListener("keydown", move);
  });
  useEffect(() => {
    if (at >= 0) body.current?.children[at]?.scrollIntoView({ block: "nearest" });
  }, [at]);
  const numeric = new Set(columns.filter((key) => key === "flags" || runs.some((run) => isNumber(run.row[key]))));
  const shared = sharedGroups(runs);
  return html`<div class="split"><${Filters} /><section class="grow">
    <div class="row wrap between"><h1>${plural(runs.length, "run")} <span class="faint small">${shared}</span></h1>
      <span class="row"><button onClick=${() => setPicking(true)}>Columns (${columns.length})</button>
        <button title="the columns shown, in this order" onClick=${() => download("splitpriv-runs.csv", toCsv(columns, runs), "text/csv")}>Export CSV</button>
        <button title="every entry of the rows shown" onClick=${() => download("splitpriv-runs-all.csv", toCsv(columnsOf(runs), runs), "text/csv")}>Export all columns</button></span></div>
    ${picking ? html`<${Columns} columns=${columns} close=${() => setPicking(false)} />` : ""}
    ${runs.length ? html`<div class="scroll tall" tabindex="0" aria-label="runs"><table class="data runs"><thead><tr><th><span class="sr">compare</span></th>
      ${columns.map((key) => html`<th key=${key} class=${numeric.has(key) ? "n" : ""} aria-sort=${order(key)}><button class="sort" title=${key} onClick=${() => click(key)}><${Heading} of=${key} />
        <span aria-hidden="true">${order(key) === "ascending" ? " ▲" : order(key) === "descending" ? " ▼" : ""}</span></button></th>`)}</tr></thead>
      <tbody ref=${body}>${runs.map((run, i) => html`<${Line} key=${run.key} run=${run} columns=${columns} numeric=${numeric} here=${i === at} on=${choice.tray.includes(run.key)} />`)}</tbody></table></div>
      <p class="faint small">${unlike(runs)} Suite: what the suite of attacks answers; worst case: the best of all attacks on each image, an oracle; ↑ higher or ↓ lower is more private. Keys: j and k move, Enter opens, x puts into the comparison.</p>`
    : html`<p class="empty">No run passes the filters. <button onClick=${() => choose({ filters: {}, q: "", brushed: [] })}>Clear them</button></p>`}
  </section></div>`;
}

/** A line is drawn again only when something of it changed: five hundred of them take a while. */
class Line extends Component {
  shouldComponentUpdate(next) {
    return ["run", "here", "on"].some((k) => next[k] !== this.props[k]) || next.columns.join() !== this.props.columns.join() || next.numeric.size !== this.props.numeric.size;
  }

  render({ run, columns, numeric, here, on }) {
    return html`<tr class=${`${here ? "here" : ""} ${on ? "on" : ""}`}><td><${TrayBox} run=${run} /></td>
      ${columns.map((key) => html`<td key=${key} class=${numeric.has(key) ? "n" : key === "key" ? "mono" : ""}>${cellOf(run, key)}</td>`)}</tr>`;
  }
}

function cellOf(run, key) {
  if (key === "chain" || key === "key") return html`<a href=${`#/run/${encodeURIComponent(run.key)}`} onClick=${(e) => { if (!e.ctrlKey && !e.metaKey) { e.preventDefault(); go("run", run.key); } }}>${run.row[key]}</a>`;
  if (key === "flags") return run.flags.length ? html`<span class="flagcount" title=${flagLines(run).join("\n")}>⚑ ${run.flags.length}</span>` : "";
  if (key === "finished") return when(run.finished);
  const value = entry(run, key);
  return value === undefined ? "" : show(value, key);
}

/** The dialog of columns: search, tick, begin again. */
function Columns({ columns, close }) {
  const dialog = useRef(null);
  const [text, setText] = useState("");
  useEffect(() => dialog.current.showModal(), []);
  const every = columnsOf(DATA.runs);
  const found = every.filter((key) => `${key} ${heading(key)}`.toLowerCase().includes(text.toLowerCase()));
  const varies = (key) => unique(DATA.runs.map((run) => JSON.stringify(entry(run, key)))).length > 1;
  const set = (key) => remember("columns", (columns.includes(key) ? columns.filter((c) => c !== key) : [...columns, key]).join("|"));
  return html`<dialog ref=${dialog} onClose=${close} aria-label="Columns"><div class="row between"><h2>Columns</h2><button onClick=${() => dialog.current.close()}>Done</button></div>
    <div class="row"><input type="search" placeholder="Find a column" aria-label="Find a column" value=${text} onInput=${(e) => setText(e.target.value)} />
      <button onClick=${() => remember("columns", "")}>Usual columns</button></div>
    <ul class="columns">${found.map((key) => html`<li key=${key}><label><input type="checkbox" data-column=${key} checked=${columns.includes(key)} onChange=${() => set(key)} />
      <span>${heading(key)}</span> ${heading(key) === key ? "" : html`<span class="faint small">${key}</span>`} ${varies(key) ? "" : html`<span class="faint small">the same in all</span>`}</label></li>`)}</ul></dialog>`;
}
