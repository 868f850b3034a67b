// The overview: privacy against utility, with floor, ceiling and Pareto front, and a brush that the other pages obey.

const isGroupKey = (runs, key) => runs.some((run) => key in run.row && isGroup(key, run.row[key]));

/** The axes to choose from: every utility and cost, every attack and every metric of privacy. */
function axes(runs) {
  const keys = unique(runs.flatMap((run) => Object.keys(run.row).filter((k) => isNumber(run.row[k]))));
  const privacy = keys.filter((k) => k.startsWith("privacy/"));
  const attacks = unique(privacy.map((k) => k.split("/")[1]));
  const first = (attack) => ["worst", "suite"].indexOf(attack); // a suite's answer where there is one
  attacks.sort((a, b) => first(b) - first(a));
  const x = keys.filter((k) => /^(utility|cost|bound|defense)\//.test(k));
  x.sort((a, b) => (b === "utility/accuracy") - (a === "utility/accuracy"));
  return { x, attacks, metricsOf: (attack) => privacy.filter((k) => k.split("/")[1] === attack).map((k) => k.split("/")[2]) };
}

/** What the plot shows, out of the address, with defaults that fit the runs. */
function plotChoice(runs) {
  const found = axes(runs);
  const pick = (name, list, otherwise) => (list.includes(choice.view[name]) ? choice.view[name] : list.includes(otherwise) ? otherwise : list[0]);
  const x = pick("x", found.x, "utility/accuracy");
  const attack = pick("attack", found.attacks, runs.every((run) => run.row.suite) ? "suite" : "worst");
  const metrics = attack ? found.metricsOf(attack) : [];
  const metric = pick("metric", metrics, "mse");
  const groups = ["chain", ...unique(runs.flatMap((run) => Object.keys(run.row).filter((k) => isGroup(k, run.row[k]))))];
  const colour = pick("colour", groups, "chain");
  const on = (name) => choice.view[name] !== "0";
  return { ...found, x, xs: found.x, attack, metrics, metric, y: `privacy/${attack}/${metric}`, groups, colour,
    means: choice.view.means === "1", floor: on("floor"), ceiling: on("ceiling"), front: on("front") };
}

/** One point per run, or per group of runs that differ in their seeds alone, with the spread of these. */
function pointsOf(runs, c) {
  const usable = runs.filter((run) => isNumber(run.row[c.x]) && isNumber(run.row[c.y]));
  const groups = new Map();
  for (const run of usable) {
    const name = c.means ? `${run.group} ${run.row.verdict === "void"}` : run.key; // void runs enter no mean of others
    groups.set(name, [...(groups.get(name) || []), run]);
  }
  return [...groups.values()].map((members) => {
    const xs = members.map((run) => run.row[c.x]);
    const ys = members.map((run) => run.row[c.y]);
    return { runs: members, x: mean(xs), y: mean(ys), xs: [Math.min(...xs), Math.max(...xs)], ys: [Math.min(...ys), Math.max(...ys)], run: members[0] };
  });
}

const isVoid = (p) => p.runs.some((run) => run.row.verdict === "void");
const isSound = (p) => p.runs.every((run) => run.row.verdict === "sound");

/** What a point's runs share with those that may stand on one front with them; a suite's answer knows no other attacks. */
function worldOf(p, c) {
  const { suite, attacks, ...world } = p.run.world;
  return { ...world, ...(["suite", "worst"].includes(c.attack) || `attack/${c.attack}/answer` in p.run.row ? { suite } : {}), ...(c.attack === "worst" ? { attacks } : {}) };
}

/** The points, void ones left out, that no other beats in both directions, from the worst to the best x; one front per world. */
function paretoFronts(points, c) {
  const signX = metricOf(c.x).arrow === "↓" ? -1 : 1;
  const signY = metricOf(c.y).arrow === "↓" ? -1 : 1;
  const worlds = new Map(points.map((p) => [JSON.stringify(worldOf(p, c)), worldOf(p, c)]));
  const differ = Object.keys([...worlds.values()][0] || {}).filter((key) => unique([...worlds.values()].map((world) => world[key])).length > 1);
  return [...worlds].map(([name, world]) => {
    const sorted = points.filter((p) => JSON.stringify(worldOf(p, c)) === name && !isVoid(p)).sort((a, b) => signX * (b.x - a.x) || signY * (b.y - a.y));
    let best = -Infinity;
    const front = sorted.filter((p) => signY * p.y > best && ((best = signY * p.y), true));
    return { world: differ.map((key) => WORLD_WORDS[key]?.(world[key]) ?? (world[key] || `no ${key}`)).join(" · "), front: front.reverse(), turned: signX < 0 };
  });
}

const WORLD_WORDS = { older: (links) => links || "newest versions", "protocol.queries": (q) => plural(Number(q), "release") };

/** Horizontal lines: what the mean image and a random image score, and what the attack gets without a defence; none
    where the worlds of a data set do not agree on it. */
function levels(runs, c) {
  const out = [];
  const datasets = unique(runs.map((run) => run.row.dataset));
  for (const [i, dataset] of datasets.entries()) {
    const own = runs.filter((run) => run.row.dataset === dataset && isNumber(run.row[c.y]));
    const where = datasets.length > 1 ? `, ${dataset}` : "";
    const worlds = new Map();
    for (const run of own) {
      const world = JSON.stringify(worldOf({ run }, c));
      worlds.set(world, [...(worlds.get(world) || []), run]);
    }
    const add = (name, value, dash) => {
      const means = [...worlds.values()].map((same) => mean(same.map(value).filter(isNumber))).filter(isNumber);
      if (means.length === worlds.size && unique(means.map((y) => show(y, c.y))).length === 1) out.push({ name: name + where, y: means[0], dash, x: i / datasets.length });
    };
    const at = (key) => (run) => run.row[key];
    const ceiling = `ceiling/${c.attack}/${c.metric}`;
    if (c.floor) add("floor (the mean image, no release)", at(`floor/mean_image/${c.metric}`), "dash");
    if (c.floor) add("floor (the commonest value)", at(`floor/prior/${c.metric}`), "dash");
    if (c.floor) add("floor (a random image)", at(`floor/random_image/${c.metric}`), "dot");
    const told = own.some((run) => isNumber(run.row[ceiling]));
    if (c.ceiling) add("ceiling (no defence)", told ? at(ceiling) : (run) => (run.row.chain === "none" ? run.row[c.y] : null), "dashdot");
  }
  return out;
}

function hoverText(p, c, name) {
  const more = p.runs.length > 1 ? `, mean of ${p.runs.length} seeds` : `, seed ${p.run.row.seed}`;
  return [`<b>${inert([p.run.row.chain, p.run.row.way].filter(Boolean).join(" · "))}</b>${inert(more)}`, ...(c.colour === "chain" ? [] : [inert(`${c.colour} ${name}`)]), inert(whereOf(p.run.row)),
    inert(`${labelOf(c.x)}: ${show(p.x, c.x)}`), inert(`${labelOf(c.y)}: ${show(p.y, c.y)}`), inert(p.run.row.verdict) + (p.run.flags.length ? `, ${plural(p.run.flags.length, "flag")}` : "")].join("<br>");
}

function Overview() {
  const runs = filtered();
  const [pinned, pin] = useState(null);
  const c = plotChoice(DATA.runs);
  const points = pointsOf(runs, c);
  const names = unique(DATA.runs.map((run) => String(run.row[c.colour] ?? "–"))).sort(byText);
  const brushed = new Set(choice.brushed);
  const fronts = paretoFronts(points, c);
  const shownRun = runs.find((run) => run.key === pinned) || fronts[0]?.front[0]?.run || points[0]?.run || null;
  const traces = names.map((name, i) => {
    const own = points.filter((p) => String(p.run.row[c.colour] ?? "–") === name);
    const s = styleOf(i);
    const bars = (axis) => (c.means ? { type: "data", symmetric: false, array: own.map((p) => p[axis + "s"][1] - p[axis]), arrayminus: own.map((p) => p[axis] - p[axis + "s"][0]), color: s.colour, thickness: 1, width: 3 } : undefined);
    return { type: "scatter", mode: "markers", name: inert(name), x: own.map((p) => p.x), y: own.map((p) => p.y), customdata: own.map((p) => p.runs.map((run) => run.key).join(" ")),
      hovertext: own.map((p) => hoverText(p, c, name)), hoverinfo: "text", error_x: bars("x"), error_y: bars("y"),
      marker: { color: s.colour, symbol: own.map((p) => (isSound(p) ? s.symbol : `${s.symbol}-open`)), size: own.map((p) => (isVoid(p) ? 6 : 11)), opacity: own.map((p) => (isVoid(p) ? 0.45 : 0.9)), line: { width: own.map((p) => (isSound(p) ? 1 : 2)), color: own.map((p) => (isSound(p) ? (isDark() ? "#fff" : "#222") : s.colour)) } },
      selectedpoints: brushed.size ? own.map((p, k) => (p.runs.some((run) => brushed.has(run.key)) ? k : -1)).filter((k) => k >= 0) : undefined,
      unselected: { marker: { opacity: 0.15 } }, selected: { marker: { opacity: 1 } } };
  }).filter((t) => t.x.length);
  const tags = [];
  if (c.front) for (const { front, world } of fronts) {
    if (front.length > 1) traces.unshift({ type: "scatter", mode: "lines", x: front.map((p) => p.x), y: front.map((p) => p.y), line: { color: css("--faint"), width: 1.5, shape: "linear" }, hoverinfo: "skip", name: inert(`Pareto front ${world}`) });
    if (front.length > 1 && fronts.length > 1) tags.push({ x: front[0].x, y: front[0].y, text: inert(world), showarrow: false, yanchor: "bottom", yshift: 6, font: { size: 11, color: css("--ink") } });
  }
  const lines = levels(runs, c);
  const shapes = lines.map((l) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: l.y, y1: l.y, line: { color: css("--faint"), width: 1.3, dash: l.dash }, layer: "below" }));
  const narrow = isNarrow(); // labels of a second data set then stand below their lines, not beside the others
  const annotations = lines.map((l) => ({ xref: "paper", x: 0.005 + (narrow ? 0 : l.x), xanchor: "left", y: l.y, yanchor: narrow && l.x ? "top" : "bottom", showarrow: false, text: inert(`${l.name} ${show(l.y, c.y)}`), font: { size: narrow ? 9 : 11, color: css("--faint") } }));
  const x = metricOf(c.x);
  const y = metricOf(c.y);
  const ys = [...points.flatMap((p) => p.ys), ...lines.map((l) => l.y)];
  const pad = ys.length ? (Math.max(...ys) - Math.min(...ys)) * 0.08 || Math.abs(ys[0]) * 0.1 || 0.1 : 0;
  const range = ys.length ? [Math.min(...ys) - pad, Math.max(...ys) + pad] : undefined;
  const keysOf = (event) => unique((event?.points || []).flatMap((p) => (p.customdata ? String(p.customdata).split(" ") : [])));
  const on = {
    hover: (e) => { const key = keysOf(e)[0]; if (key) pin(key); },
    click: (e) => { const key = keysOf(e)[0]; if (key) pin(key); },
    selected: (e) => { const keys = keysOf(e); if (e && keys.length) choose({ brushed: keys }); },
    deselect: () => choice.brushed.length && choose({ brushed: [] }),
  };
  const layout = {
    xaxis: { title: { text: inert(labelOf(c.x, false)) + (x.arrow ? `, ${x.arrow} is better` : "") }, tickformat: x.digits === "%" ? ".1%" : undefined, autorange: x.arrow === "↓" ? "reversed" : true },
    yaxis: { title: { text: inert(labelOf(c.y, false)) + (y.arrow ? `, ${y.arrow} is more private` : "") }, tickformat: y.digits === "%" ? ".0%" : undefined, ...(range ? { range: y.arrow === "↓" ? [...range].reverse() : range } : {}) },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "select", hovermode: "closest", shapes, annotations: [...annotations, ...tags], uirevision: [c.x, c.y].join(), selections: [],
  };
  const front = fronts.flatMap((f) => (f.turned ? [...f.front].reverse() : f.front).map((p) => ({ ...p, world: f.world })));
  const missing = runs.length - sum(points.map((p) => p.runs.length));
  return html`<div class="split"><${Filters} /><section class="grow overview">
    <div class="row wrap controls">
      <${Choice} name="x" label="across" value=${c.x} options=${c.xs.map((k) => [k, labelOf(k)])} />
      <${Choice} name="metric" label="up" value=${c.metric} options=${c.metrics.map((m) => [m, labelOf(`privacy/${c.attack}/${m}`).split(" · ")[0]])} />
      <${Choice} name="attack" label="by" value=${c.attack} options=${c.attacks.map((a) => [a, whoLabel(a)])} />
      <${Choice} name="colour" label="colour" value=${c.colour} options=${c.groups.map((g) => [g, g])} />
      ${[["means", "seeds’ mean", c.means], ["floor", "floor", c.floor], ["ceiling", "ceiling", c.ceiling], ["front", "Pareto front", c.front]].map(([name, label, value]) => html`
        <label class="check"><input type="checkbox" checked=${value} onChange=${() => remember(name, value ? "0" : "1")} /> ${label}</label>`)}
    </div>
    ${points.length ? html`<div class="row stretch plotrow"><div class="grow plotbox">
      <${Plot} traces=${traces} layout=${layout} height=${isNarrow() ? 350 : 470} on=${on} bar=${true} stamp=${[writeHash(choice), isDark(), DATA.made].join()} label=${`${labelOf(c.y)} against ${labelOf(c.x)} of ${plural(points.length, "point")}; the table below holds the Pareto front`} />
    <p class="faint small">Up and to the right is better. Hollow points are doubtful, small ones void and on no front. ${fronts.length > 1 ? "Runs of unlike worlds (data set, network, cut, protocol, suite) have fronts of their own, and lines for floor and ceiling only where these are the same in all. " : ""}Drag over points to brush them: every page then shows these runs only. ${c.means ? "Bars reach from the least to the greatest value over seeds. " : ""}${missing ? `${plural(missing, "run")} without these numbers ${missing === 1 ? "is" : "are"} not drawn.` : ""}</p>
    <ul class="legend wide" aria-label="colours">${names.filter((n) => points.some((p) => String(p.run.row[c.colour] ?? "–") === n)).map((name) => html`<li key=${name}><button class="quiet" title="brush these runs" onClick=${() =>
      choose({ brushed: points.filter((p) => String(p.run.row[c.colour] ?? "–") === name).flatMap((p) => p.runs.map((run) => run.key)) })}><${Marker} i=${names.indexOf(name)} /> ${name}</button></li>`)}</ul></div>
      <${Card} run=${shownRun} c=${c} /></div>` : html`<p class="empty">No run of these has both ${labelOf(c.x)} and ${labelOf(c.y)}. Loosen the filters, or choose other axes.</p>`}
    <${Front} points=${front} c=${c} />
  </section></div>`;
}

function Choice({ name, label, value, options }) {
  return html`<label class="choice">${label} <select data-choice=${name} value=${value} onChange=${(e) => remember(name, e.target.value)}>
    ${options.map(([v, text]) => html`<option key=${v} value=${v} selected=${v === value}>${text}</option>`)}</select></label>`;
}

/** The run under the pointer. */
function Card({ run, c }) {
  if (!run) return html`<aside class="card faint"><p>Point at a run to see what the attacker saw.</p></aside>`;
  const twin = run.row[`ceiling/${c.attack}/${c.metric}`];
  return html`<aside class="card" aria-label="run"><h2><${RunLink} run=${run} /></h2>
    <p class="small faint">${whereOf(run.row)} · seed ${run.row.seed}</p>
    <dl class="pairs"><dt>${labelOf(c.x)}</dt><dd>${show(run.row[c.x], c.x)}</dd><dt>${labelOf(c.y)}</dt><dd>${show(run.row[c.y], c.y)}</dd>
      ${isNumber(twin) ? html`<dt class="faint">undefended</dt><dd class="faint">${show(twin, c.y)}</dd>` : ""}</dl>
    <${Glance} run=${run} />
    ${run.flags.length ? html`<ul class="flags small">${flagLines(run).map((f) => html`<li>${f}</li>`)}</ul>` : ""}
    <p class="row"><a class="button" href=${linkTo("run", run.key)}>Open</a>
      <button onClick=${() => tray(run.key)}>${choice.tray.includes(run.key) ? "Take out of comparison" : "Compare"}</button></p></aside>`;
}

function Front({ points, c }) {
  if (!points.length) return "";
  return html`<h2>Pareto front <span class="faint small">${points.length === 1 ? "one point beats" : "no other point beats these"} ${points.length === 1 ? "all others" : ""} in both directions</span></h2>
    <div class="scroll"><table class="data"><thead><tr><th><span class="sr">compare</span></th><th>chain</th><th>world</th><th>seeds</th><th class="n">${labelOf(c.x)}</th><th class="n">${labelOf(c.y)}</th><th class="n">flags</th><th>key</th></tr></thead>
    <tbody>${points.map((p) => html`<tr key=${p.run.key}><td><${TrayBox} run=${p.run} /></td><td><${RunLink} run=${p.run} /></td><td>${p.world || p.run.row.dataset}</td><td>${p.runs.length > 6 ? plural(p.runs.length, "seed") : p.runs.map((run) => run.row.seed).join(", ")}</td>
      <td class="n">${show(p.x, c.x)}</td><td class="n">${show(p.y, c.y)}</td><td class="n">${p.run.flags.length || ""}</td><td class="mono">${p.run.key}</td></tr>`)}</tbody></table></div>`;
}
