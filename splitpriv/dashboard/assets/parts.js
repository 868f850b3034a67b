// Parts that several pages share: pictures, histograms, learning curves, links to runs.

/** Some tiles of a strip. `order` picks them; a gap in it leaves a blank. */
function Tiles({ strip, count, order, size, label, captions, scale = 64 }) {
  const url = strip && stripUrl(strip);
  if (!url) return html`<p class="faint">The pictures are not in this store.</p>`;
  const [h, w] = size;
  const height = Math.max(scale, Math.min(h, 96));
  const width = Math.round((height * w) / h);
  return html`<div class="tiles">${order.map((at, i) => html`<figure key=${i} style=${`width:${width}px`}>
    ${at === null ? html`<div class="tile blank" style=${`width:${width}px;height:${height}px`}></div>`
      : html`<div class="tile" role="img" aria-label=${`${label}, ${captions?.[at] ?? `picture ${at + 1}`}`}
        style=${`width:${width}px;height:${height}px;background-image:url("${url}");background-size:${count * 100}% 100%;background-position:${count > 1 ? (100 * at) / (count - 1) : 0}% 0`}></div>`}
    ${captions ? html`<figcaption>${at === null ? "" : captions[at]}</figcaption>` : ""}</figure>`)}</div>`;
}

const all = (n) => [...Array(n).keys()];
const fixedOf = (run, attack) => run.shown[attack]?.fixed;

/** The attack that did best against a run on average, of those with pictures: what its thumbnails show. */
function bestAttack(run) {
  const names = run.attacks.filter((name) => fixedOf(run, name));
  const mse = (name) => run.row[`privacy/${name}/mse`] ?? Infinity;
  return names.sort((a, b) => mse(a) - mse(b))[0];
}

/** Victims above what the best attack made of them. */
function Glance({ run }) {
  const attack = bestAttack(run);
  const fixed = attack && fixedOf(run, attack);
  if (!fixed) return html`<p class="faint small">no pictures of this run in the store</p>`;
  const n = fixed.mse.length;
  return html`<div class="glance"><p class="small faint">victims, and what ${attack} made of their releases</p>
    ${[all(n).slice(0, 4), all(n).slice(4)].filter((order) => order.length).map((order, i) => html`<div key=${i} class="block">
      <${Tiles} strip=${fixed.x} count=${n} order=${order} size=${fixed.size} label="victim" scale=${56} />
      <${Tiles} strip=${fixed.images} count=${n} order=${order} size=${fixed.size} label=${`reconstruction by ${attack}`} scale=${56} /></div>`)}</div>`;
}

/** A run's name in a list; a study's row says what sets it apart from the others of its study. */
function nameOf(run) {
  return [run.row.chain, run.row.way, `seed ${run.row.seed}`].filter(Boolean).join(" · ");
}

/** What was run, in a line: a study's row may have no cut. */
function whereOf(row) {
  return [row.study, row.dataset, row.cut === undefined ? row.backbone : `${row.backbone} cut at ${row.cut}`, row["protocol.queries"] > 1 ? `${row["protocol.queries"]} queries` : ""].filter(Boolean).join(" · ");
}

function RunLink({ run, children }) {
  return html`<a href=${linkTo("run", run.key)} data-key=${run.key}>${children || run.row.chain}</a>`;
}

function TrayBox({ run }) {
  const on = choice.tray.includes(run.key);
  return html`<input type="checkbox" class="traybox" aria-label=${`compare ${nameOf(run)}`} title="put into the comparison" checked=${on}
    onClick=${(e) => { e.preventDefault(); e.stopPropagation(); setTimeout(() => tray(run.key)); }} />`;
}

/** What all of these runs share of their groups, and the first in which they differ. */
function sharedGroups(runs) {
  const names = ["dataset", "backbone", "cut", "optim", "protocol", "protocol.queries", "setting"].filter((g) => runs.some((run) => g in run.row));
  return names.filter((g) => unique(runs.map((run) => entry(run, g))).length === 1).map((g) => `${g} ${entry(runs[0], g)}`).join(" · ");
}

/** Lines with a legend; `lines`: [{name, at, y, i, faint}]. `log` draws the values on a logarithmic axis. */
function Lines({ title, lines, phases = [], log = false, x = "epoch", height = 230 }) {
  const kept = lines.filter((line) => line.y.length);
  const traces = kept.map((line) => {
    const s = styleOf(line.i);
    return { type: "scatter", mode: line.y.length < 30 ? "lines+markers" : "lines", x: line.at, y: line.y, name: inert(line.name), hovertemplate: "%{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
      line: { color: s.colour, dash: s.dash, width: 2 }, marker: { symbol: s.symbol, size: 5 } };
  });
  const shapes = phases.slice(1).map((p) => ({ type: "line", x0: p.at - 0.5, x1: p.at - 0.5, yref: "paper", y0: 0, y1: 1, line: { color: css("--faint"), width: 1, dash: "dot" } }));
  const notes = phases.length > 1 ? phases.map((p) => ({ x: p.at, xanchor: "left", yref: "paper", y: 1.02, yanchor: "bottom", text: inert(p.name), showarrow: false, font: { size: 11, color: css("--faint") } })) : [];
  const thinned = kept.find((line) => line.of > line.y.length);
  return html`<figure class="chart"><figcaption>${title}${thinned ? html` <span class="faint small">(${thinned.y.length} of ${thinned.of} points)</span>` : ""}</figcaption>
    <${Plot} traces=${traces} height=${height} label=${`${title}: ${kept.map((l) => l.name).join(", ")}`} bar=${false}
      layout=${{ xaxis: { title: { text: inert(x) } }, yaxis: { type: log ? "log" : "linear" }, shapes, annotations: notes, margin: { l: 10, r: 10, t: phases.length > 1 ? 22 : 8, b: 10 } }} />
    <ul class="legend">${kept.map((line) => html`<li key=${line.name}><${Marker} i=${line.i} line=${true} /> ${line.name}</li>`)}</ul></figure>`;
}

/** Histograms of scores per victim on common bins, or how many say yes; `series`: [{name, found, i}]. */
function Histogram({ metric, dataset, series, marks = [] }) {
  const [low, high] = DATA.edges[`${dataset}/${metric}`];
  const key = `privacy/x/${metric}`;
  const bins = series[0].found.counts.length;
  const yesNo = bins === 2;
  const used = yesNo ? all(2) : all(bins).filter((k) => series.some(({ found }) => found.counts[k])); // the page's range is that of all its runs
  const [from, to] = [Math.min(...used), Math.max(...used) + 1];
  const width = Math.max(1, Math.round((to - from) / 40));
  const step = ((high - low) / bins) * width;
  const traces = series.map(({ name, found, i }) => {
    const s = styleOf(i);
    const y = all(Math.ceil((to - from) / width)).map((k) => sum(found.counts.slice(from + k * width, from + (k + 1) * width)) / Math.max(1, found.n));
    if (yesNo) return { type: "bar", name: inert(name), x: ["no", "yes"], y, marker: { color: s.colour }, hovertemplate: "%{x}: %{y:.1%} of victims<extra>%{fullData.name}</extra>" };
    return { type: "scatter", mode: "lines", line: { shape: "hvh", color: s.colour, width: 2, dash: s.dash }, fill: "tozeroy", fillcolor: s.colour + "22", name: inert(name),
      x: y.map((_, k) => low + ((high - low) / bins) * from + step * (k + 0.5)), y, hovertemplate: `%{x:${low === 0 && high === 1 ? ".0%" : ".4g"}}: %{y:.1%} of victims<extra>%{fullData.name}</extra>` };
  });
  const drawn = marks.filter((m) => isNumber(m.value));
  const shapes = drawn.map((m) => ({ type: "line", x0: m.value, x1: m.value, yref: "paper", y0: 0, y1: 1, line: { color: css("--faint"), width: 1.5, dash: "dash" } }));
  const notes = drawn.map((m) => ({ x: m.value, yref: "paper", y: 1, yanchor: "bottom", text: inert(m.label), showarrow: false, font: { size: 11, color: css("--faint") } }));
  const said = (found) => (!found.n ? "no finite score" : yesNo ? `yes ${show(found.counts[1] / Math.max(1, found.n), key)}` : `median ${show(found.median, key)}, middle 90 % ${show(found.low, key)} to ${show(found.high, key)}`);
  const m = metricOf(key);
  return html`<figure class="chart"><figcaption>${labelOf(key).split(" · ")[0]} per victim</figcaption>
    <${Plot} traces=${traces} height=${210} bar=${false} label=${`Histogram of ${m.label} per victim`} layout=${{ xaxis: { title: { text: inert(m.label) }, ...(yesNo ? { type: "category" } : m.digits === "%" ? { tickformat: ".0%" } : {}) }, yaxis: { tickformat: ".0%", rangemode: "tozero" }, shapes, annotations: notes, margin: { l: 10, r: 10, t: 20, b: 10 } }} />
    <ul class="legend">${series.map(({ name, found, i }) => html`<li key=${name}><${Marker} i=${i} line=${!yesNo} /> ${name} <span class="faint">${said(found)}</span></li>`)}</ul></figure>`;
}
