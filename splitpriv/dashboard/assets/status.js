// How far a sweep is: its points, what is being built, what failed with the traceback, what a kill left behind.

const SIGN = { done: "✓", running: "▶", failed: "✗", interrupted: "◼", waiting: "·", "not started": "·" };
const State = ({ state, n }) => html`<span class=${`state ${state.replace(" ", "-")}`}><span aria-hidden="true">${SIGN[state]}</span> ${n === undefined ? state : `${n} ${state}`}</span>`;

function Status() {
  const s = DATA.status;
  const order = ["fit", "attack", "measure"];
  const stages = Object.entries(s.stages).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  return html`<section class="page"><h1>Sweep status <span class="faint small">${LIVE ? html`live, <span id="fresh">read ${when(DATA.made)}</span>` : `as of ${when(DATA.made)}; run splitpriv dashboard --serve to follow a sweep`}</span></h1>
    <dl class="stats"><div><dt>finished runs</dt><dd>${DATA.runs.length}</dd></div>${["running", "failed", "interrupted"].map((k) => html`<div key=${k} class=${s[k].length ? k : ""}><dt>${k} stages</dt><dd>${s[k].length}</dd></div>`)}</dl>
    ${stages.length ? html`<div class="scroll"><table class="data"><thead><tr><th>stage</th><th class="n">done</th><th class="n">running</th><th class="n">failed</th><th class="n">interrupted</th><th class="bar">progress</th></tr></thead><tbody>
      ${stages.map(([name, c]) => html`<tr key=${name}><th scope="row">${name}</th>${["done", "running", "failed", "interrupted"].map((k) => html`<td class="n" key=${k}>${c[k] || ""}</td>`)}<td class="bar"><${Bar} counts=${c} /></td></tr>`)}</tbody></table></div>` : html`<p class="empty">No stage was begun in this store.</p>`}
    ${s.running.length ? html`<h2>Running</h2><ul class="plainlist">${s.running.map((r) => html`<li key=${r.stage + r.key}><${State} state="running" /> ${r.stage} <code>${r.key}</code> ${r.epochs ? html`· ${plural(r.epochs, "epoch")} done` : ""} ${lastNote(r.last)} <span class="faint small">last written ${when(r.at)}</span></li>`)}</ul>` : ""}
    ${s.sweeps.length ? html`<h2>Sweeps</h2>${s.sweeps.map((sweep, i) => html`<${Sweep} key=${sweep.name} sweep=${sweep} open=${i === 0} />`)}` : html`<p class="faint">No sweep was launched from this store; single runs are above.</p>`}
    ${s.failed.length ? html`<h2>Failed stages</h2>${s.failed.map((f, i) => html`<details key=${f.stage + f.key} class="failure" open=${i < 3}><summary><${State} state="failed" /> ${f.stage} <code>${f.key}</code> <b>${f.traceback.trim().split("\n").at(-1)}</b> <span class="faint small">${when(f.at)}</span></summary><pre tabindex="0">${f.traceback}</pre></details>`)}` : ""}
    ${DATA.left_out.length ? html`<h2>Left out <span class="faint small">files among the rows that are none; the run that made one makes it again</span></h2><ul class="plainlist">${DATA.left_out.map(([name, why]) => html`<li key=${name}><code>${name}</code> ${why}</li>`)}</ul>` : ""}
    ${s.interrupted.length ? html`<h2>Interrupted <span class="faint small">begun, and no process of this machine holds them; the same command continues where they stopped</span></h2><ul class="plainlist">${s.interrupted.map((r) => html`<li key=${r.stage + r.key}><${State} state="interrupted" /> ${r.stage} <code>${r.key}</code> ${r.epochs ? `· after ${plural(r.epochs, "epoch")}` : ""} <span class="faint small">${when(r.at)}</span></li>`)}</ul>` : ""}
  </section>`;
}

function lastNote(last) {
  const parts = ["task", "accuracy/train", "accuracy/val"].filter((k) => isNumber(last?.[k])).map((k) => `${k} ${k.startsWith("accuracy") ? `${(100 * last[k]).toFixed(1)} %` : show(last[k])}`);
  return parts.length ? `· ${parts.join(", ")}` : "";
}

function Bar({ counts }) {
  const total = sum(Object.values(counts)) || 1;
  return html`<span class="progress" role="img" aria-label=${Object.entries(counts).filter(([, n]) => n).map(([k, n]) => `${n} ${k}`).join(", ")}>${Object.entries(counts).map(([k, n]) => (n ? html`<i key=${k} class=${k.replace(" ", "-")} style=${`width:${(100 * n) / total}%`}></i>` : ""))}</span>`;
}

/** What a point is called: its row in a table, or those of its overrides that not all points have. */
function PointName({ point, shared }) {
  const words = point.overrides || [];
  if (point.row) return html`<span title=${words.join(" ")}>${point.row} <span class="faint small">${point.play}, seed ${point.seed}${point.attack_seed ? `, attack seed ${point.attack_seed}` : ""}</span></span>`;
  return html`<span class="mono small" title=${words.join(" ")}>${words.filter((word) => !shared.has(word)).join(" ")}</span>`;
}

function Sweep({ sweep, open }) {
  const counts = Object.fromEntries(Object.keys(SIGN).map((state) => [state, sweep.points.filter((p) => p.state === state).length]).filter(([, n]) => n));
  const [shown, unfold] = useState(open || sweep.alive || Boolean(counts.failed));
  const shared = new Set(sweep.points.length > 1 ? (sweep.points[0].overrides || []).filter((word) => sweep.points.every((p) => p.overrides?.includes(word))) : []);
  const name = sweep.table ? `${sweep.table} · ${sweep.scale}` : "";
  return html`<details class="sweep" open=${shown} onToggle=${(e) => unfold(e.currentTarget.open)}><summary><b>${sweep.begun}</b> ${name ? html`<b class="tag">${name}</b> ` : ""}${sweep.alive && !counts.running ? html`<${State} state="running" />` : ""} ${Object.entries(counts).map(([k, n]) => html`<${State} key=${k} state=${k} n=${n} /> `)}
    <${Bar} counts=${counts} /></summary>${sweep.command ? html`<p class="mono small">${sweep.command}</p>` : ""}
    ${shown && sweep.front.length ? html`<${Found} sweep=${sweep} />` : ""}
    <ol class="points" start="0">${sweep.points.map((p) => html`<li key=${p.number}><${State} state=${p.state} /> <${PointName} point=${p} shared=${shared} /> ${p.key && BY_KEY.get(p.key) ? html`<${RunLink} run=${BY_KEY.get(p.key)}>open</${RunLink}>` : ""}
      ${p.problems ? html`<pre tabindex="0">${p.problems.join("\n")}</pre>` : ""}</li>`)}</ol></details>`;
}

/** What a search has found: its trials over the first two columns that it optimises, and the best of them. */
function Found({ sweep }) {
  const columns = Object.keys(sweep.objective || {}).filter((column) => sweep.front.every((trial) => isNumber(trial[column])));
  if (!columns.length) return "";
  const [x, y] = columns;
  const best = [...sweep.front].sort((a, b) => a[x] - b[x]);
  const settings = (trial) => Object.entries(trial.params || {}).map(([key, value]) => `${key}=${value}`).join(" ");
  const keys = unique([...best.map((trial) => trial.key), ...sweep.points.map((p) => p.key)]).filter((key) => BY_KEY.has(key));
  const tried = keys.map((key) => BY_KEY.get(key).row).filter((row) => !best.some((trial) => trial.key === row.key) && isNumber(row[x]) && isNumber(row[y]));
  const axis = (column) => ({ title: { text: inert(`${labelOf(column, false)}, ${sweep.objective[column]}`) }, tickformat: metricOf(column).digits === "%" ? ".1%" : undefined });
  const traces = [
    { type: "scatter", mode: "markers", x: tried.map((row) => row[x]), y: tried.map((row) => row[y]), hovertext: tried.map((row) => inert(row.key)), hoverinfo: "text", marker: { color: css("--faint"), size: 8, symbol: "circle-open" } },
    { type: "scatter", mode: "lines+markers", x: best.map((trial) => trial[x]), y: best.map((trial) => trial[y]), hovertext: best.map((trial) => inert(settings(trial))), hoverinfo: "text", line: { color: PALETTE[0], width: 1.5, dash: "dot" }, marker: { color: PALETTE[0], size: 11, symbol: best.map((trial) => (BY_KEY.get(trial.key)?.row.verdict === "sound" ? "circle" : "circle-open")) } },
  ];
  return html`<div class="search"><h3>${y ? "Front" : "Best"} <span class="faint small">of ${plural(sweep.points.length, "trial")} of this command${y ? "; the dotted line joins what no trial beats in every number; hollow: doubtful, or void" : ""}</span></h3>
    ${y ? html`<${Plot} traces=${traces} layout=${{ xaxis: axis(x), yaxis: axis(y), hovermode: "closest" }} height=${260} label=${`${labelOf(y)} against ${labelOf(x)} of ${plural(keys.length, "trial")}; the table below holds the front`} stamp=${[keys.join(), JSON.stringify(best), isDark()].join()} />` : ""}
    <div class="scroll"><table class="data"><thead><tr><th>settings</th>${columns.map((c) => html`<th class="n" key=${c}>${labelOf(c)}</th>`)}<th>verdict</th><th>run</th></tr></thead>
    <tbody>${best.map((trial) => html`<tr key=${trial.trial}><td class="mono small">${settings(trial)}</td>${columns.map((c) => html`<td class="n" key=${c}>${show(trial[c], c)}</td>`)}<td>${BY_KEY.get(trial.key)?.row.verdict ?? ""}</td><td>${BY_KEY.has(trial.key) ? html`<${RunLink} run=${BY_KEY.get(trial.key)}>open</${RunLink}>` : ""}</td></tr>`)}</tbody></table></div>
    ${keys.length ? html`<p><button onClick=${() => choose({ brushed: keys, page: "overview" }, true)}>Show ${plural(keys.length, "run")} on the overview</button></p>` : ""}</div>`;
}
