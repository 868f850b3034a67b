// The board: a page for each world, one for each chain, and what both need. The address says which.

const SUITE = "privacy/suite/";
const worldName = (board) => board.name.join(" · ");
const percent = (v) => (isNumber(v) ? `${(100 * v).toFixed(2)} %` : "–");
const pointWord = (loss) => (Number(loss) === 0.01 ? "point" : "points");
const lossWord = (loss) => `${Number((100 * Number(loss)).toFixed(3))}`;
const strengthOf = (line) => Object.entries(line.strength).map(([k, v]) => `${k.split(".").at(-1)} ${show(v)}`).join(", ");
const boardOf = (id) => DATA.boards.find((board) => board.id === id);
const chainLink = (chain) => `#/defence/${encodeURIComponent(chain)}`;
const colourOf = (board, chain) => Object.keys(board.chains).indexOf(chain);

/** "#/world/ab12" -> ["world", "ab12"]. */
function route() {
  const [page, key = ""] = location.hash.replace(/^#\/?/, "").split("/");
  return [page || "worlds", decodeSafe(key)];
}

/** An estimate for people: mean, interval, and how many seeds where these are few. */
function Told({ e, digits = 4, share = false, least = false }) {
  if (!e || !isNumber(e.mean)) return html`<span class="faint">–</span>`;
  const text = (v) => (share ? (100 * v).toFixed(2) : v.toFixed(digits));
  const span = isNumber(e.low) && isNumber(e.high) ? html`<br /><small class="faint">[${text(e.low)}, ${text(e.high)}]</small>` : html`<br /><small class="faint">n = ${e.n}</small>`;
  return html`<span class="keep">${least ? "≥ " : ""}${text(e.mean)}${share ? " %" : ""}</span>${span}`;
}

function Place({ place }) {
  if (!place) return html`<span class="faint">–</span>`;
  if (place.first === null) return html`<span class="faint small" title=${place.why}>not ranked<br /><small>${place.why}</small></span>`;
  return place.tied ? html`<span class="keep">${place.first}–${place.last}</span><br /><small class="faint">tied</small>` : html`<b>${place.first}</b>`;
}

/** The columns of a board: label, what is sorted by, what is shown, and whether any line has it. */
function columnsOf(board, loss, notes) {
  const at = (line, q, metric) => line.attacked[q]?.[metric];
  const best = (line, q) => line.best[q];
  const bought = (line) => board.chains[line.chain].bought;
  const place = (line) => board.chains[line.chain].places[loss];
  const some = (read) => board.lines.some((line) => isNumber(read(line)?.mean));
  const estimate = (label, read, more = {}) => ({ label, n: true, sort: (line) => read(line)?.mean, cell: (line) => html`<${Told} e=${read(line)} ...${more} />`, any: some(read) });
  const plain = (label, title, read) => ({ label, title, n: true, sort: (line) => read(line)?.mean, cell: (line) => (isNumber(read(line)?.mean) ? (read(line).mean / 1000).toFixed(1) : "–"), any: some(read) });
  return [
    { label: `place at ${lossWord(loss)}`, title: `by the error that the suite leaves at ${lossWord(loss)} points of loss; a range where intervals overlap`, sort: (line) => place(line)?.first ?? undefined, cell: (line) => html`<${Place} place=${place(line)} />`, any: true },
    { label: "chain", sort: (line) => line.chain + strengthOf(line), cell: (line) => html`<a href=${chainLink(line.chain)}>${line.chain}</a>${line.front ? html` <span class="word small" title=${line.front === "front" ? "no other line beats it in both directions beyond both intervals" : `by means alone: no interval over ${board.least} seeds or more`}>${line.front}</span>` : ""}<br /><small class="faint">${strengthOf(line)}</small>${line.beyond ? html`<br /><small class="warn">${line.beyond}</small>` : ""}`, any: true },
    { label: "verdict", sort: (line) => line.verdict, cell: (line) => html`<span class=${`verdict ${line.verdict}`}>${line.verdict}</span>${line.flags.map((flag) => html`<sup><a href="#" onClick=${(e) => { e.preventDefault(); document.getElementById(`note-${notes.indexOf(flag.kind)}`)?.scrollIntoView({ block: "center" }); }}>${notes.indexOf(flag.kind) + 1}</a></sup> `)}`, any: true },
    { label: "seeds", n: true, sort: (line) => line.seeds.length, cell: (line) => html`${line.seeds.length}${line.seeds.length < board.least ? html`<br /><small class="warn">few</small>` : ""}`, any: true },
    estimate("utility", (line) => line.utility, { share: true }),
    estimate("loss, points", (line) => line.loss && { ...line.loss, mean: 100 * line.loss.mean, low: line.loss.low === null ? null : 100 * line.loss.low, high: line.loss.high === null ? null : 100 * line.loss.high }, { digits: 2 }),
    ...board.queries.flatMap((q) => [estimate(`MSE ↑ ${q} q.`, (line) => at(line, q, "mse")), estimate(`SSIM ↓ ${q} q.`, (line) => at(line, q, "ssim"), { digits: 3 }), { ...estimate(`who ↓ ${q} q.`, (line) => at(line, q, "identity"), { share: true }), title: "how often a rebuilt picture, or a release, still says who or what it was" },
      { ...estimate(`best known ${q} q.`, (line) => best(line, q)), title: "the least error that anybody reached", cell: (line) => (best(line, q) ? html`<${Told} e=${best(line, q)} /><br /><small class="faint">${best(line, q).who.map((who) => who || "the suite").join(", ")}</small>` : html`<span class="faint">–</span>`) }]),
    { label: "claimed", n: true, sort: (line) => claimedMse(line), cell: (line) => html`${line.claimed.length ? claimText(line.claimed[0]) : html`<span class="faint">–</span>`}`, any: board.lines.some((line) => line.claimed.length) },
    ...board.losses.map((l) => ({ ...estimate(`MSE at ${lossWord(l)}`, (line) => bought(line)[l]), title: `error left at ${lossWord(l)} points of lost utility, by the chain's own curve; ≥: in some seed every strength measured costs less, so that it leaves at least this much`, cell: (line) => html`<${Told} e=${bought(line)[l]} least=${bought(line)[l]?.at_least} />` })),
    plain("rate, kbit", "kilobits an image", (line) => line.rate),
    plain("edge, kMAC", "thousand multiply-adds an image", (line) => line.edge),
    { label: "more", sort: () => 0, cell: (line) => html`<a href=${`cards/${line.key}.html`}>card</a>${line.weights ? html` · <a href=${line.weights}>weights</a>` : ""}${line.command ? html` · <${Command} text=${line.command} />` : ""}`, any: true },
  ].filter((column) => column.any);
}

const claimedMse = (line) => line.claimed[0]?.numbers.find((n) => n.key?.endsWith("/mse"))?.value;
const claimText = (claim) => claim.numbers.map((n) => `${n.label} ${n.value}`).join(", ");

function Command({ text }) {
  const [said, say] = useState("copy command");
  return html`<button class="quiet small" title=${text} onClick=${() => (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"))).then(() => say("copied"), () => prompt("The command that makes this row again", text))}>${said}</button>`;
}

/** Of each chain the line that protects most at no more than so many points of loss, else its mildest, which then says that it is `beyond`; or all lines. */
function chosenLines(board, most) {
  if (most === "all") return board.lines;
  return Object.keys(board.chains).map((chain) => {
    const mine = board.lines.filter((line) => line.chain === chain);
    const lost = (line) => line.loss?.mean ?? Infinity;
    const within = mine.filter((line) => lost(line) <= Number(most) + 1e-9);
    const left = (line) => line.attacked[1]?.mse?.mean ?? -1;
    if (within.length) return within.reduce((a, b) => (left(b) > left(a) ? b : a));
    const mildest = mine.reduce((a, b) => (lost(b) < lost(a) ? b : a));
    return { ...mildest, beyond: mildest.loss ? `none at ≤ ${lossWord(most)} ${pointWord(most)}` : "loss not measured" };
  });
}

function Board({ id }) {
  const board = boardOf(id);
  const [loss, setLoss] = useState("0.01");
  const [shown, setShown] = useState("0.01");
  const [q, setQ] = useState("");
  const [verdicts, setVerdicts] = useState("any");
  const [order, setOrder] = useState({ at: 0, up: true });
  if (!board) return html`<section class="page"><h1>There is no such board</h1><p><a href="#/worlds">All boards</a></p></section>`;
  const notes = unique(board.lines.flatMap((line) => line.flags.map((flag) => flag.kind)));
  const columns = columnsOf(board, loss, notes);
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = chosenLines(board, shown).filter((line) => words.every((w) => `${line.chain} ${strengthOf(line)}`.toLowerCase().includes(w)) && (verdicts === "any" || line.verdict === verdicts));
  const by = columns[Math.min(order.at, columns.length - 1)].sort;
  const sorted = [...kept].sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === undefined || y === undefined || x === null || y === null) return (x === undefined || x === null) - (y === undefined || y === null) || byText(a.chain, b.chain);
    return (order.up ? 1 : -1) * (isNumber(x) && isNumber(y) ? x - y : byText(String(x), String(y))) || byText(a.chain, b.chain);
  });
  const pick = (label, value, set, options) => html`<label class="choice free">${label} <select value=${value} onChange=${(e) => set(e.target.value)}>${options.map(([v, text]) => html`<option key=${v} value=${v} selected=${v === value}>${text}</option>`)}</select></label>`;
  return html`<section class="page"><h1>${worldName(board)} <span class="faint small">${board.world.suite}</span></h1>
    <p class="small">${plural(Object.keys(board.chains).length, "chain")}, ${plural(board.lines.length, "setting")}, seeds ${board.seeds.join(", ")}. Brackets are 95 % intervals over target seeds; two chains are in order only where their intervals do not touch, and only from ${board.least} seeds on. “≥” is a least error, because every strength measured costs less: such a chain is below nobody, and may share its place with all above it until a stronger setting is run. ↑ higher, ↓ lower is more private; “q.” is how often the same image is released.</p>
    <div class="row wrap controls">${pick("show", shown, setShown, [["0.005", "the best at ≤ 0.5 points"], ["0.01", "the best at ≤ 1 point"], ["0.02", "the best at ≤ 2 points"], ["all", "every setting"]])}
      ${pick("place at", loss, setLoss, board.losses.map((l) => [l, `${lossWord(l)} ${pointWord(l)} of loss`]))}
      ${pick("verdict", verdicts, setVerdicts, [["any", "any"], ["sound", "sound"], ["doubtful", "doubtful"]])}
      <input type="search" id="search" aria-label="search chains" placeholder="chain or setting" value=${q} onInput=${(e) => setQ(e.target.value)} /></div>
    <div class="scroll"><table class="data runs board"><thead><tr>${columns.map((column, i) => html`<th key=${column.label} class=${column.n ? "n" : ""} aria-sort=${i === order.at ? (order.up ? "ascending" : "descending") : undefined}><button class="sort" title=${column.title || "sort"} onClick=${() => setOrder({ at: i, up: i === order.at ? !order.up : true })}>${column.label}${i === order.at ? (order.up ? " ▴" : " ▾") : ""}</button></th>`)}</tr></thead>
      <tbody>${sorted.map((line) => html`<tr key=${line.key} data-chain=${line.chain} class=${line.beyond ? "beyond" : ""}>${columns.map((column) => html`<td key=${column.label} class=${column.n ? "n" : ""} data-label=${column.label}><div>${column.cell(line)}</div></td>`)}</tr>`)}</tbody></table></div>
    ${sorted.length ? "" : html`<p class="empty">No line fits. Loosen the filters.</p>`}
    <h2>Front <span class="faint small">loss of utility across, the suite's error upwards; dotted: no other setting beats these in both directions, by means alone; a wide interval ends at the picture's edge</span></h2>
    <${FrontPlot} board=${board} lines=${board.lines} />
    ${notes.length ? html`<h2>Footnotes</h2><ol class="small notes">${notes.map((kind, i) => html`<li key=${kind} id=${`note-${i}`}>${DATA.facts.flags[kind] || kind} <span class="faint">(${kind}; e.g. ${board.lines.flatMap((l) => l.flags).find((f) => f.kind === kind).text})</span></li>`)}</ol>` : ""}
    ${board.void.length ? html`<h2>Left out <span class="faint small">void rows, and those of an older version of a link: in no number above</span></h2><ul class="small">${board.void.map((row) => html`<li key=${row.key}>${row.chain}, seed ${row.seed} <span class="mono faint">${row.key}</span>: ${row.why.join("; ")}</li>`)}</ul>` : ""}
    ${Object.keys(board.apart).length ? html`<details><summary>What sets this board apart from others of its data set, network, cut and adversary</summary><pre class="small">${Object.entries(board.apart).map(([k, v]) => `${k}: ${show(v)}`).join("\n")}</pre></details>` : ""}
    <details><summary>What all of these share</summary><pre class="small">${Object.entries({ ...board.world, ...board.settings }).map(([k, v]) => `${k}: ${show(v)}`).join("\n")}</pre></details>
    <p class="small faint">Privacy at a loss: ${board.interpolation || "needs an undefended run of the same seeds"}. The numbers: <a href=${`worlds/${board.id}.json`}>JSON</a>.</p></section>`;
}

/** Lines of a board as points with their intervals, chain by chain. */
function FrontPlot({ board, lines, named = true }) {
  const drawn = lines.filter((line) => isNumber(line.loss?.mean) && isNumber(line.attacked[1]?.mse?.mean));
  if (!drawn.length) return html`<p class="faint">A front needs an undefended run of the same seeds, and one query.</p>`;
  const ends = (list, sign) => list.map((e) => (isNumber(e[sign > 0 ? "high" : "low"]) ? Math.abs(e[sign > 0 ? "high" : "low"] - e.mean) : 0));
  const bars = (list) => ({ type: "data", symmetric: false, array: ends(list, 1), arrayminus: ends(list, -1), thickness: 1, width: 3 });
  const chains = unique(drawn.map((line) => line.chain));
  const traces = chains.map((chain) => {
    const mine = drawn.filter((line) => line.chain === chain).sort((a, b) => a.loss.mean - b.loss.mean);
    const s = styleOf(colourOf(board, chain));
    const xs = mine.map((l) => ({ mean: 100 * l.loss.mean, low: l.loss.low === null ? null : 100 * l.loss.low, high: l.loss.high === null ? null : 100 * l.loss.high }));
    return { type: "scatter", mode: "lines+markers", name: inert(chain), x: xs.map((e) => e.mean), y: mine.map((l) => l.attacked[1].mse.mean), error_x: { ...bars(xs), color: s.colour }, error_y: { ...bars(mine.map((l) => l.attacked[1].mse)), color: s.colour },
      line: { color: s.colour, width: 1, dash: s.dash }, marker: { color: s.colour, symbol: s.symbol, size: 9, line: { width: 0.8, color: css("--ink") } },
      text: mine.map((l) => inert(`${strengthOf(l)} (n = ${l.seeds.length})`)), hovertemplate: "%{fullData.name} %{text}<br>%{x:.2f} points, MSE %{y:.4f}<extra></extra>" };
  });
  const losses = drawn.map((line) => 100 * line.loss.mean);  // two seeds can have an interval ten times as wide as all points lie apart
  const margin = 0.08 * Math.max(1, Math.max(...losses) - Math.min(...losses));
  const front = drawn.filter((line) => line.means).sort((a, b) => a.loss.mean - b.loss.mean);
  if (named && front.length > 1) traces.push({ type: "scatter", mode: "lines", x: front.map((l) => 100 * l.loss.mean), y: front.map((l) => l.attacked[1].mse.mean), line: { color: css("--faint"), dash: "dot", width: 1.5 }, hoverinfo: "skip", name: "front" });
  const floor = drawn.find((line) => isNumber(line.floor?.mean))?.floor.mean;
  const shapes = isNumber(floor) ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: floor, y1: floor, line: { color: css("--faint"), dash: "dash", width: 1 } }] : [];
  const annotations = isNumber(floor) ? [{ xref: "paper", x: 0, xanchor: "left", y: floor, yanchor: "bottom", text: "mean image: nothing learnt from the release", showarrow: false, font: { size: 11, color: css("--faint") } }] : [];
  return html`<${Plot} traces=${traces} height=${isNarrow() ? 320 : 430} label="loss of utility against the suite's error" bar=${false} layout=${{ xaxis: { title: { text: "points of utility lost" }, range: [Math.min(...losses) - margin, Math.max(...losses) + margin] }, yaxis: { title: { text: "MSE of the suite" }, rangemode: "tozero" }, shapes, annotations, margin: { l: 10, r: 10, t: 10, b: 10 } }} />
    ${named ? html`<ul class="legend">${chains.map((chain) => html`<li key=${chain}><${Marker} i=${colourOf(board, chain)} /> <a href=${chainLink(chain)}>${chain}</a></li>`)}</ul>` : ""}`;
}

function Defence({ chain }) {
  const told = DATA.defences[chain];
  if (!told) return html`<section class="page"><h1>No row has the chain ${chain}</h1><p><a href="#/worlds">All boards</a></p></section>`;
  const boards = DATA.boards.filter((board) => chain in board.chains);
  return html`<section class="page"><h1>${chain}</h1>
    ${told.links.map((link) => html`<p key=${link.name} class="note">${told.links.length > 1 ? html`<b>${link.name}</b>: ` : ""}${link.said} <span class="faint">${link.yaml}</span></p>`)}
    ${told.claims.length ? html`<details open><summary>Claimed in print</summary><ul class="small">${told.claims.map((claim, i) => html`<li key=${i}>${claim.dataset} · ${claim.backbone}, ${claim.row}: ${claimText(claim)} <span class="faint">(${claim.source})</span></li>`)}</ul></details>` : html`<p class="small faint">No paper's table here prints a number of this chain.</p>`}
    ${boards.map((board) => {
      const mine = board.lines.filter((line) => line.chain === chain).sort((a, b) => (a.loss?.mean ?? 0) - (b.loss?.mean ?? 0));
      const pictured = mine.filter((line) => line.shown);
      return html`<div key=${board.id}><h2><a href=${`#/world/${board.id}`}>${worldName(board)}</a> <span class="faint small">${board.world.suite}</span></h2>
        <${FrontPlot} board=${board} lines=${[...mine, ...(chain === "none" ? [] : board.lines.filter((l) => l.chain === "none"))]} named=${false} />
        <div class="scroll"><table class="data"><thead><tr><th>setting</th><th class="n">seeds</th><th class="n">utility</th><th class="n">loss, points</th><th class="n">MSE ↑</th><th class="n">SSIM ↓</th></tr></thead><tbody>${mine.map((line) => html`<tr key=${line.key}><td>${strengthOf(line) || "as it is"}</td><td class="n">${line.seeds.length}</td><td class="n"><${Told} e=${line.utility} share=${true} /></td><td class="n">${line.loss ? (100 * line.loss.mean).toFixed(2) : "–"}</td><td class="n"><${Told} e=${line.attacked[1]?.mse} /></td><td class="n"><${Told} e=${line.attacked[1]?.ssim} digits=${3} /></td></tr>`)}</tbody></table></div>
        ${pictured.length ? html`<h3>What the suite rebuilt <span class="faint small">the same victims at every strength; numbers are MSE</span></h3><div class="scroll"><table class="bare stack"><tbody>
          <tr><th scope="row">victims</th><td><${Tiles} strip=${pictured[0].shown.x} count=${pictured[0].shown.count} order=${all(pictured[0].shown.count)} size=${pictured[0].shown.size} label="victim" scale=${56} /></td></tr>
          ${pictured.map((line) => html`<tr key=${line.key}><th scope="row">${strengthOf(line) || chain}</th><td><${Tiles} strip=${line.shown.images} count=${line.shown.count} order=${all(line.shown.count)} size=${line.shown.size} label="reconstruction" captions=${line.shown.mse.map((v) => v.toFixed(4))} scale=${56} /></td></tr>`)}</tbody></table></div>` : ""}</div>`;
    })}</section>`;
}

function Worlds() {
  return html`<section class="page"><h1>Boards</h1>
    <p class="note">Each board is one world: a data set, a network and its cut, what the adversary knows, and one suite of attacks. Numbers of different boards cannot be compared.</p>
    <div class="worlds">${DATA.boards.map((board) => html`<a key=${board.id} class="world" href=${`#/world/${board.id}`}><b>${worldName(board)}</b><span class="small">${board.world.suite}</span><span class="small faint">${plural(Object.keys(board.chains).length, "chain")}, ${plural(board.lines.length, "setting")}, ${plural(board.seeds.length, "seed")}${board.void.length ? `, ${board.void.length} void` : ""}</span></a>`)}</div>
    ${DATA.boards.length ? "" : html`<p class="empty">No row has been attacked by a suite yet.</p>`}
    ${DATA.attacks.length ? html`<h2>Attacks that others sent in</h2><ul class="small">${DATA.attacks.map((a) => html`<li key=${a.name + a.row}><b>${a.name}</b> by ${a.by} on <span class="mono">${a.row}</span>: MSE ${a.mse.toFixed(5)}, SSIM ${a.ssim.toFixed(3)}${a.kept ? "" : html` <span class="faint">(scored when it came in; its file is not kept)</span>`}</li>`)}</ul>` : ""}
    ${DATA.models.length ? html`<h2>Models that others sent in</h2><ul class="small">${DATA.models.map((m) => html`<li key=${m.name}><b>${m.name}</b> by ${m.by}: ${m.chain}, <a href=${m.link}>weights</a></li>`)}</ul>` : ""}</section>`;
}

function BoardApp() {
  const [, draw] = useState(0);
  useEffect(() => {
    const tell = () => draw((n) => n + 1);
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, []);
  const [page, key] = route();
  useEffect(() => { document.title = `${page === "defence" ? key : page === "world" && boardOf(key) ? worldName(boardOf(key)) : "Boards"} · splitpriv board`; window.scrollTo(0, 0); }, [page, key]);
  return html`<a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>Skip to the page</a>
    <header><a class="brand" href="#/worlds">splitpriv board</a><nav aria-label="boards">${DATA.boards.map((board) => html`<a key=${board.id} href=${`#/world/${board.id}`} aria-current=${page === "world" && key === board.id ? "page" : undefined}>${[board.world.dataset, ...board.name.slice(4), board.world.suite].join(", ")}</a>`)}</nav>
      <span class="row end"><button class="quiet" aria-label="dark or light" onClick=${() => dress(isDark() ? "light" : "dark")}>${isDark() ? "☀" : "☾"}</button></span></header>
    <main id="main" tabindex="-1">${page === "world" ? html`<${Board} key=${key} id=${key} />` : page === "defence" ? html`<${Defence} key=${key} chain=${key} />` : html`<${Worlds} />`}</main>
    <footer class="faint small">splitpriv ${DATA.version} · ${when(DATA.made)} · <a href="board.json">all of it as JSON</a></footer>`;
}

function dress(theme, keep = true) {
  document.documentElement.dataset.theme = theme;
  if (keep) remembered.set("theme", theme);
  listeners.forEach((tell) => tell());
}

async function open() {
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  dress(remembered.get("theme") || (prefers.matches ? "dark" : "light"), false);
  const app = document.getElementById("app");
  try {
    DATA = await unpack(document.getElementById("data").textContent);
  } catch (error) {
    app.firstElementChild.textContent = `The boards cannot be read: ${error.message}. A browser from 2023 or later is needed.`;
    return;
  }
  app.textContent = "";
  render(html`<${BoardApp} />`, app);
  addEventListener("hashchange", () => listeners.forEach((tell) => tell()));
  document.body.dataset.ready = "yes";
}

open();
